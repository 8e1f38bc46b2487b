"""Attention on a TPU: JAX's flash attention in Pallas, which keeps the logits in the chip's vector memory.

Importing Pallas takes half a second, so that only those who trace these kernels do.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Bool, Float

from dreamlayer_jax.arrays import Array

LANES = 128  # of a TPU's vector unit: tokens come in multiples of it, and so do heads that are longer
MOST = 512  # queries and keys a tile: 1 MiB of logits


def takes(q: Float[Array, "b t n d"], k: Float[Array, "b s n d"]) -> bool:
    """Whether the kernel has these shapes: whole tiles of queries and of keys."""
    return q.shape[1] % LANES == 0 and k.shape[1] % LANES == 0


def flash(
    q: Float[Array, "b t n d"], k: Float[Array, "b s n d"], v: Float[Array, "b s n d"], mask_keep: Bool[Array, "b 1 1 s"] | None = None
) -> Float[Array, "b t n d"]:
    """softmax(Q Kᵀ / √d) V."""
    from jax.experimental.pallas.ops.tpu import flash_attention as pallas

    size, segments, sizes = q.shape[-1], _segments(q, mask_keep), _blocks(q, k)
    q, k, v = map(_heads_first, (q, k, v))
    out = pallas.flash_attention(q, k, v, segment_ids=segments, sm_scale=size**-0.5, block_sizes=sizes)
    return jnp.swapaxes(out, 1, 2)[..., :size]


def flash_with_log_sum(
    q: Float[Array, "b t n d"], k: Float[Array, "b s n d"], v: Float[Array, "b s n d"], mask_keep: Bool[Array, "b 1 1 s"] | None = None
) -> tuple[Float[Array, "b t n d"], Float[Array, "b t n"]]:
    """The same in float32, with each query's log Σ exp of its logits; has no gradient of its own."""
    from jax.experimental.pallas.ops.tpu import flash_attention as pallas

    size, segments, sizes = q.shape[-1], _segments(q, mask_keep), _blocks(q, k)
    q, k, v = map(_heads_first, (q, k, v))
    out, total, highest = pallas._flash_attention(q, k, v, None, segments, True, False, size**-0.5, sizes, False)
    return jnp.swapaxes(out, 1, 2)[..., :size].astype(jnp.float32), jnp.swapaxes(highest + jnp.log(total), 1, 2)


def flash_backward(
    q: Float[Array, "b t n d"],
    k: Float[Array, "b s n d"],
    v: Float[Array, "b s n d"],
    mask_keep: Bool[Array, "b 1 1 s"] | None,
    log_sum: Float[Array, "b t n"],
    d_out: Float[Array, "b t n d"],
    delta: Float[Array, "b t n"],
) -> tuple[Float[Array, "b t n d"], Float[Array, "b s n d"], Float[Array, "b s n d"]]:
    """What these keys give to the gradients with respect to q, k and v, where `log_sum` and `delta` = Σ_d dO ∘ O are of all keys."""
    from jax.experimental.pallas.ops.tpu import flash_attention as pallas

    size, segments, sizes = q.shape[-1], _segments(q, mask_keep), _blocks(q, k)
    q, k, v, d_out = map(_heads_first, (q, k, v, d_out.astype(v.dtype)))
    highest, delta = (jnp.swapaxes(x, 1, 2) for x in (log_sum, delta))
    given = (q, k, v, None, segments, jnp.ones_like(highest), highest, d_out, delta)
    same = {"sm_scale": size**-0.5, "causal": False, "mask_value": pallas.DEFAULT_MASK_VALUE, "debug": False}
    t, s = sizes.block_q, sizes.block_k
    d_k, d_v = pallas._flash_attention_bwd_dkv(*given, block_q_major=t, block_q=t, block_k_major=s, block_k=s, **same)
    d_q, _ = pallas._flash_attention_bwd_dq(*given, block_q_major=t, block_k_major=s, block_k=s, **same)
    return tuple(jnp.swapaxes(x, 1, 2)[..., :size] for x in (d_q, d_k, d_v))


def _heads_first(x: Float[Array, "b t n d"]) -> Float[Array, "b n t e"]:
    """As the kernel wants it; heads over 128 become a multiple of it, filled up with zeros, which changes no product."""
    size = x.shape[-1]
    x = jnp.pad(x, ((0, 0),) * 3 + ((0, -size % LANES),)) if size > LANES else x
    return rearrange(x, "b t n d -> b n t d")


def _segments(q: Float[Array, "b t n d"], mask_keep: Bool[Array, "b 1 1 s"] | None) -> Any:
    """The mask as the kernel knows it: a query sees the keys of its own segment."""
    from jax.experimental.pallas.ops.tpu.flash_attention import SegmentIds

    return None if mask_keep is None else SegmentIds(jnp.ones(q.shape[:2], jnp.int32), mask_keep[:, 0, 0].astype(jnp.int32))


def _blocks(q: Float[Array, "b t n d"], k: Float[Array, "b s n d"]) -> Any:
    """The kernel's tile sizes, forward and backward: the largest multiples of 128 up to `MOST` that divide the lengths."""
    from jax.experimental.pallas.ops.tpu.flash_attention import BlockSizes

    t, s = (next(size for size in range(MOST, 0, -LANES) if x.shape[1] % size == 0) for x in (q, k))
    forward = {"block_q": t, "block_k_major": s, "block_k": s, "block_b": 1}
    to_keys = {"block_q_major_dkv": t, "block_q_dkv": t, "block_k_major_dkv": s, "block_k_dkv": s}
    to_queries = {"block_q_dq": t, "block_k_major_dq": s, "block_k_dq": s}
    return BlockSizes(**forward, **to_keys, **to_queries)
