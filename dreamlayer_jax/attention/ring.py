"""Attention over keys that lie on other devices, without ever holding them all: the keys go round a ring (Liu et al., arXiv 2310.01889).

O = Σ_j e^{ℓ_j − ℓ} O_j,   ℓ = log Σ_j e^{ℓ_j}             O_j, ℓ_j: attention to the keys of device j, and its log-sum
dS_j = P_j ∘ (dO V_jᵀ − δ)                                 P_j = exp(Q K_jᵀ / √d − ℓ), δ = Σ_d dO ∘ O

Backwards, keys and values go round once more, and their gradients with them.
A device holds its own keys, those that it works on and those that are coming in, however many layers there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Bool, Float

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.attention import tpu
from dreamlayer_jax.attention.core import CPU_TILE, TILE, each, tiled, tiled_with
from dreamlayer_jax.layer_axis import pass_on, ring_size

Keys = tuple[Array, Array, Array | None]  # keys, values, and which of them may be seen


@jax.custom_vjp
def ring_attention(
    q: Float[Array, "b t n d"],
    k: Float[Array, "b s n d"],
    v: Float[Array, "b s n d"],
    mask_keep: Bool[Array, "b 1 1 s"] | None = None,
) -> Float[Array, "b t n d"]:
    """This device's queries attend to the keys of all devices on the layer axis. Shapes are of what this device has; dtype that of `v`."""
    return _forward(q, k, v, mask_keep)[0]


def _forward(q: Array, k: Array, v: Array, mask_keep: Array | None) -> tuple[Array, tuple[Array | None, ...]]:
    def add(out: Array, log_sum: Array, keys: Keys) -> tuple[Array, Array]:
        here, log_here = _attend(q, *keys)
        both = jnp.logaddexp(log_sum, log_here)
        return out * jnp.exp(log_sum - both)[..., None] + here * jnp.exp(log_here - both)[..., None], both

    def step(carry: tuple[Array, Array, Keys], _: None) -> tuple[tuple[Array, Array, Keys], None]:
        out, log_sum, keys = carry
        coming = pass_on(keys)  # on its way while this step's product runs
        return (*add(out, log_sum, keys), coming), None

    nothing = (jnp.zeros(q.shape, jnp.float32), jnp.full(q.shape[:-1], -jnp.inf, jnp.float32))
    (out, log_sum, last), _ = jax.lax.scan(step, (*nothing, (k, v, mask_keep)), length=ring_size() - 1)
    out, log_sum = add(out, log_sum, last)
    out = out.astype(v.dtype)
    return out, (q, k, v, mask_keep, out, log_sum)


def _backward(kept: tuple[Array | None, ...], d_out: Array) -> tuple[Array, Array, Array, None]:
    q, k, v, mask_keep, out, log_sum = kept
    delta = (d_out.astype(jnp.float32) * out.astype(jnp.float32)).sum(-1)

    def add(grads: Sequence[Array], keys: Keys) -> tuple[Array, ...]:
        here = _attend_backward(q, *keys, log_sum, d_out, delta)
        return tuple(grad + g.astype(jnp.float32) for grad, g in zip(grads, here, strict=True))

    def step(carry: tuple[Array, Array, Array, Keys], _: None) -> tuple[tuple[Array, Array, Array, Keys], None]:
        *grads, keys = carry
        coming = pass_on(keys)
        d_q, *d_keys = add(grads, keys)
        return (d_q, *pass_on(tuple(d_keys)), coming), None

    nothing = (jnp.zeros(x.shape, jnp.float32) for x in (q, k, v))
    (*grads, last), _ = jax.lax.scan(step, (*nothing, (k, v, mask_keep)), length=ring_size() - 1)
    d_q, *d_keys = add(grads, last)
    d_k, d_v = pass_on(tuple(d_keys))
    return d_q.astype(q.dtype), d_k.astype(k.dtype), d_v.astype(v.dtype), None


ring_attention.defvjp(_forward, _backward)


def _attend(q: Array, k: Array, v: Array, keep: Array | None) -> tuple[Float[Array, "b t n d"], Float[Array, "b t n"]]:
    """Attention to some keys, and the log-sum of its logits."""
    kernels = {"cpu": partial(_in_tiles, tile=CPU_TILE, in_turn=True)}
    if tpu.takes(q, k):
        kernels["tpu"] = tpu.flash_with_log_sum
    return jax.lax.platform_dependent(q, k, v, keep, default=partial(_in_tiles, tile=TILE, in_turn=False), **kernels)


def _attend_backward(q: Array, k: Array, v: Array, keep: Array | None, log_sum: Array, d_out: Array, delta: Array) -> tuple[Array, ...]:
    """What some keys give to the gradients with respect to q, k and v, where `log_sum` is of all keys."""
    kernels = {"cpu": partial(_in_tiles_backward, tile=CPU_TILE, in_turn=True)}
    if tpu.takes(q, k):
        kernels["tpu"] = tpu.flash_backward
    default = partial(_in_tiles_backward, tile=TILE, in_turn=False)
    return jax.lax.platform_dependent(q, k, v, keep, log_sum, d_out, delta, default=default, **kernels)


def _in_tiles(q: Array, k: Array, v: Array, keep: Array | None, *, tile: tuple[int, int], in_turn: bool) -> tuple[Array, Array]:
    def scene(b: tuple[Array, Array, Array, Array | None]) -> tuple[Array, Array]:
        *heads, keep = b
        return each(lambda head: tiled(*head, keep, tile), tuple(heads), in_turn)

    out, log_sum = each(scene, (*map(_heads_first, (q, k, v)), _of_scene(keep)), in_turn)
    return _heads_first(out), jnp.swapaxes(log_sum, 1, 2)


def _in_tiles_backward(
    q: Array, k: Array, v: Array, keep: Array | None, log_sum: Array, d_out: Array, delta: Array, *, tile: tuple[int, int], in_turn: bool
) -> tuple[Array, ...]:
    """The gradient of `tiled_with`: with cotangents dO and −δ it is dS of the head of this file."""

    def head(h: tuple[Array, ...], keep: Array | None) -> tuple[Array, ...]:
        q, k, v, log_sum, d_out, delta = h
        return jax.vjp(lambda q, k, v: tiled_with(q, k, v, keep, log_sum, tile), q, k, v)[1]((d_out, -delta))

    def scene(b: tuple[Array | None, ...]) -> tuple[Array, ...]:
        *heads, keep = b
        return each(lambda h: head(h, keep), tuple(heads), in_turn)

    heads = (*map(_heads_first, (q, k, v)), jnp.swapaxes(log_sum, 1, 2), _heads_first(d_out).astype(jnp.float32), jnp.swapaxes(delta, 1, 2))
    return tuple(map(_heads_first, each(scene, (*heads, _of_scene(keep)), in_turn)))


def _heads_first(x: Array) -> Array:
    return rearrange(x, "b t n d -> b n t d")


def _of_scene(keep: Array | None) -> Array | None:
    return None if keep is None else keep[:, 0, 0]
