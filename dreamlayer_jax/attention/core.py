"""The one softmax attention that every block uses: O = softmax(Q Kᵀ / √d) V.

Shapes: queries `(b, t, n, d)`, keys and values `(b, s, n, d)`; softmax in float32 whatever the inputs are. Memory is linear in the tokens:
a tile of the logits at a time (never all t × s), the softmax's sums carried from tile to tile (Milakov and Gimelshein 2018; Dao et al.
2022), or cuDNN's flash attention where it runs (half precision on an NVIDIA GPU). A CPU takes heads and scenes one after the other, in
tiles that stay in its cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float

FEW_LOGITS = 2**18  # up to so many a head and scene are held at once
CPU_TILE = (512, 512)  # queries and keys: 1 MiB of logits a layer
TILE = (1024, 2048)  # elsewhere: 8 MiB a layer, head and scene
LOWEST = float(jnp.finfo(jnp.float32).min)


def attention_weights(
    q: Float[Array, "b t n d"], k: Float[Array, "b s n d"], mask_keep: Bool[Array, "b #n #t s"] | None = None
) -> Float[Array, "b n t s"]:
    """softmax(Q Kᵀ / √d) over s, float32. `mask_keep` is True where a key may be seen; every query must see at least one key."""
    logits = jnp.einsum("b t n d, b s n d -> b n t s", q, k, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
    if mask_keep is not None:
        logits = jnp.where(mask_keep, logits, LOWEST)
    return jax.nn.softmax(logits, axis=-1)


def attention(
    q: Float[Array, "b t n d"],
    k: Float[Array, "b s n d"],
    v: Float[Array, "b s n d"],
    mask_keep: Bool[Array, "b 1 1 s"] | None = None,
) -> Float[Array, "b t n d"]:
    """O = softmax(Q Kᵀ / √d) V, in the dtype of `v`. `mask_keep` is the same for all queries and heads."""
    on_cpu = jax.default_backend() == "cpu"
    if jax.default_backend() == "gpu" and v.dtype in (jnp.bfloat16, jnp.float16):
        return jax.nn.dot_product_attention(q, k, v, mask=mask_keep, implementation="cudnn")
    if q.shape[1] * k.shape[1] <= FEW_LOGITS:
        return jnp.einsum("b n t s, b s n d -> b t n d", attention_weights(q, k, mask_keep).astype(v.dtype), v)
    tile = CPU_TILE if on_cpu else TILE

    def scene(b: tuple[Array, Array, Array, Array | None]) -> Array:
        q, k, v, keep = b
        return _each(lambda head: tiled(*head, keep, tile), (q, k, v), on_cpu)

    heads = (rearrange(x, "b t n d -> b n t d") for x in (q, k, v))
    keep = None if mask_keep is None else mask_keep[:, 0, 0]
    return rearrange(_each(scene, (*heads, keep), on_cpu), "b n t d -> b t n d")


def _each(f: Callable[[Any], Array], xs: Any, in_turn: bool) -> Array:
    return jax.lax.map(f, xs) if in_turn else jax.vmap(f)(xs)


def tiled(
    q: Float[Array, "t d"], k: Float[Array, "s d"], v: Float[Array, "s d"], keep: Bool[Array, " s"] | None, tile: tuple[int, int]
) -> Float[Array, "t d"]:
    """One head of one scene, at most `tile` (queries, keys) logits at a time."""
    keys = largest_divisor(k.shape[0], tile[1])
    k, v = (rearrange(x, "(m s) d -> m s d", s=keys) for x in (k, v))
    keep = None if keep is None else keep.reshape(-1, 1, keys)

    @jax.checkpoint
    def some(q: Array) -> Array:
        def step(carry: tuple[Array, Array, Array], of_keys: tuple[Array, Array, Array | None]) -> tuple[tuple[Array, Array, Array], None]:
            highest, total, out = carry
            k, v, keep = of_keys
            logits = jnp.einsum("t d, s d -> t s", q, k, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
            if keep is not None:
                logits = jnp.where(keep, logits, LOWEST)
            higher = jax.lax.stop_gradient(jnp.maximum(highest, logits.max(axis=1, keepdims=True)))
            weights, before = jnp.exp(logits - higher), jnp.exp(highest - higher)
            out = out * before + jnp.einsum("t s, s d -> t d", weights.astype(v.dtype), v, preferred_element_type=jnp.float32)
            return (higher, total * before + weights.sum(axis=1, keepdims=True), out), None

        start = (jnp.full((len(q), 1), LOWEST), jnp.zeros((len(q), 1)), jnp.zeros((len(q), v.shape[-1])))
        (_, total, out), _ = jax.lax.scan(step, start, (k, v, keep))
        return (out / total).astype(v.dtype)

    queries = rearrange(q, "(m t) d -> m t d", t=largest_divisor(len(q), tile[0]))
    return rearrange(jax.lax.map(some, queries), "m t d -> (m t) d")


def largest_divisor(n: int, most: int) -> int:
    """The largest divisor of n that is at most `most`."""
    return next(d for d in range(min(n, most), 0, -1) if n % d == 0)
