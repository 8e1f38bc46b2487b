"""The one softmax attention that every block uses: O = softmax(Q Kᵀ / √d) V.

Shapes: queries `(b, t, n, d)`, keys and values `(b, s, n, d)`; softmax in float32 whatever the inputs are. Memory is linear in the tokens:
a tile of the logits at a time (never all t × s), the softmax's sums carried from tile to tile (Milakov and Gimelshein 2018; Dao et al.
2022). The platform that a program is lowered for chooses who does it: cuDNN on an NVIDIA GPU (half precision), the Pallas kernel on a TPU,
XLA elsewhere; a CPU takes heads and scenes one after the other, in tiles that stay in its cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Bool, Float

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.attention import tpu

FEW_LOGITS = 2**18  # up to so many a head and scene are held at once
CPU_TILE = (512, 512)  # queries and keys: 1 MiB of logits a layer
TILE = (1024, 2048)  # elsewhere: 8 MiB a layer, head and scene
LOWEST = float(jnp.finfo(jnp.float32).min)
HALF = (jnp.bfloat16, jnp.float16)
ArrayShape = Array | jax.ShapeDtypeStruct


def attention_weights(
    q: Float[Array, "b t n d"], k: Float[Array, "b s n d"], mask_keep: Bool[Array, "#b #n #t s"] | None = None
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
    """O = softmax(Q Kᵀ / √d) V, in the dtype of `v`. `mask_keep` is the same for all queries and heads; None where all keys are seen."""
    kernels = {}
    if q.shape[1] * k.shape[1] <= FEW_LOGITS:
        default = at_once
    else:
        default, kernels["cpu"] = partial(in_tiles, tile=TILE, in_turn=False), partial(in_tiles, tile=CPU_TILE, in_turn=True)
        if tpu.takes(q, k):
            kernels["tpu"] = tpu.flash
    if cudnn_takes(q, k, v, mask_keep):
        kernels["cuda"] = cudnn
    if not kernels:
        return default(q, k, v, mask_keep)
    return jax.lax.platform_dependent(q, k, v, mask_keep, default=default, **kernels)


def at_once(q: Array, k: Array, v: Array, mask_keep: Array | None) -> Array:
    """All logits at the same time."""
    return jnp.einsum("b n t s, b s n d -> b t n d", attention_weights(q, k, mask_keep).astype(v.dtype), v)


def cudnn(q: Array, k: Array, v: Array, mask_keep: Array | None) -> Array:
    """cuDNN's flash attention. It wants even lengths, and a mask as long as the queries are."""
    queries, keys = q.shape[1], k.shape[1]
    q, k, v = (jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0))) for x in (q, k, v))
    lengths = None
    if mask_keep is not None:
        mask_keep = jnp.pad(mask_keep, ((0, 0),) * 3 + ((0, keys % 2),))
        mask_keep = jnp.broadcast_to(mask_keep, (q.shape[0], 1, q.shape[1], k.shape[1]))
    elif keys % 2:
        lengths = jnp.full(q.shape[0], keys, jnp.int32)
    out = jax.nn.dot_product_attention(q, k, v, mask=mask_keep, key_value_seq_lengths=lengths, implementation="cudnn")
    return out[:, :queries]


def cudnn_takes(q: ArrayShape, k: ArrayShape, v: ArrayShape, mask_keep: ArrayShape | None) -> bool:
    """Whether cuDNN is there and has a kernel for these shapes, forward and backward; on this process's GPU, by its own checks.

    It has none for single precision and for heads over 256 (before Hopper 128).
    """
    if v.dtype not in HALF:
        return False
    shapes = [x if x is None else jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (q, k, v, mask_keep)]
    try:
        jax.eval_shape(lambda q, k, v, keep: jax.vjp(partial(cudnn, mask_keep=keep), q, k, v)[0], *shapes)
    except (NotImplementedError, RuntimeError):  # a shape it refuses; no cuDNN
        return False
    return True


def in_tiles(q: Array, k: Array, v: Array, mask_keep: Array | None, *, tile: tuple[int, int], in_turn: bool) -> Array:
    """At most `tile` (queries, keys) logits a head and scene at a time; all heads and scenes at once, or one after the other."""

    def scene(b: tuple[Array, Array, Array, Array | None]) -> Array:
        q, k, v, keep = b
        return each(lambda head: tiled(*head, keep, tile)[0], (q, k, v), in_turn)

    heads = (rearrange(x, "b t n d -> b n t d") for x in (q, k, v))
    keep = None if mask_keep is None else mask_keep[:, 0, 0]
    return rearrange(each(scene, (*heads, keep), in_turn), "b n t d -> b t n d").astype(v.dtype)


def each(f: Callable[[Any], Any], xs: Any, in_turn: bool) -> Any:
    """`f` of every x: one after the other, or all at once."""
    return jax.lax.map(f, xs) if in_turn else jax.vmap(f)(xs)


def tiled(
    q: Float[Array, "t d"], k: Float[Array, "s d"], v: Float[Array, "s d"], keep: Bool[Array, " s"] | None, tile: tuple[int, int]
) -> tuple[Float[Array, "t d"], Float[Array, " t"]]:
    """One head of one scene, at most `tile` (queries, keys) logits at a time: float32, and each query's log Σ exp of its logits."""
    keys = largest_divisor(k.shape[0], tile[1])
    k, v = (rearrange(x, "(m s) d -> m s d", s=keys) for x in (k, v))
    keep = None if keep is None else keep.reshape(-1, 1, keys)

    @jax.checkpoint
    def some(q: Array) -> tuple[Array, Array]:
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
        (highest, total, out), _ = jax.lax.scan(step, start, (k, v, keep))
        return out / total, (highest + jnp.log(total))[:, 0]

    queries = rearrange(q, "(m t) d -> m t d", t=largest_divisor(len(q), tile[0]))
    out, log_sum = jax.lax.map(some, queries)
    return out.reshape(q.shape[0], -1), log_sum.reshape(-1)


def tiled_with(
    q: Float[Array, "t d"],
    k: Float[Array, "s d"],
    v: Float[Array, "s d"],
    keep: Bool[Array, " s"] | None,
    log_sum: Float[Array, " t"],
    tile: tuple[int, int],
) -> tuple[Float[Array, "t d"], Float[Array, " t"]]:
    """exp(Q Kᵀ / √d − log_sum) times V and times 1, tile by tile: what some of the keys give where the softmax's sum is known already."""
    keys = largest_divisor(k.shape[0], tile[1])
    k, v = (rearrange(x, "(m s) d -> m s d", s=keys) for x in (k, v))
    keep = None if keep is None else keep.reshape(-1, 1, keys)

    @jax.checkpoint
    def some(of_queries: tuple[Array, Array]) -> tuple[Array, Array]:
        q, log_sum = of_queries

        def step(carry: tuple[Array, Array], of_keys: tuple[Array, Array, Array | None]) -> tuple[tuple[Array, Array], None]:
            out, total = carry
            k, v, keep = of_keys
            logits = jnp.einsum("t d, s d -> t s", q, k, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
            weights = jnp.exp(logits - log_sum[:, None])
            if keep is not None:
                weights = jnp.where(keep, weights, 0.0)
            out = out + jnp.einsum("t s, s d -> t d", weights.astype(v.dtype), v, preferred_element_type=jnp.float32)
            return (out, total + weights.sum(axis=1)), None

        return jax.lax.scan(step, (jnp.zeros((len(q), v.shape[-1])), jnp.zeros(len(q))), (k, v, keep))[0]

    size = largest_divisor(len(q), tile[0])
    out, total = jax.lax.map(some, (rearrange(q, "(m t) d -> m t d", t=size), rearrange(log_sum, "(m t) -> m t", t=size)))
    return out.reshape(q.shape[0], -1), total.reshape(-1)


def largest_divisor(n: int, most: int) -> int:
    """The largest divisor of n that is at most `most`."""
    return next(d for d in range(min(n, most), 0, -1) if n % d == 0)
