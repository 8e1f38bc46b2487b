"""The one softmax attention that every block uses: O = softmax(Q Kᵀ / √d) V.

Shapes: queries `(b, t, n, d)`, keys and values `(b, s, n, d)`; softmax in float32 whatever the inputs are. Memory is linear in the tokens:
the logits of a few queries at a time (never all t × s), or cuDNN's flash attention where it runs (half precision on an NVIDIA GPU).
A CPU takes the heads one after the other: a head's keys then stay in its cache.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float

BLOCK_LOGITS = 2**21  # logits of one head and scene held at a time: 8 MiB in float32


def attention_weights(
    q: Float[Array, "b t n d"], k: Float[Array, "b s n d"], mask_keep: Bool[Array, "b #n #t s"] | None = None
) -> Float[Array, "b n t s"]:
    """softmax(Q Kᵀ / √d) over s, float32. `mask_keep` is True where a key may be seen; every query must see at least one key."""
    logits = jnp.einsum("b t n d, b s n d -> b n t s", q, k, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
    if mask_keep is not None:
        logits = jnp.where(mask_keep, logits, jnp.finfo(jnp.float32).min)
    return jax.nn.softmax(logits, axis=-1)


def attention(
    q: Float[Array, "b t n d"],
    k: Float[Array, "b s n d"],
    v: Float[Array, "b s n d"],
    mask_keep: Bool[Array, "b 1 1 s"] | None = None,
) -> Float[Array, "b t n d"]:
    """O = softmax(Q Kᵀ / √d) V, in the dtype of `v`. `mask_keep` is the same for all queries and heads."""
    if jax.default_backend() == "gpu" and v.dtype in (jnp.bfloat16, jnp.float16):
        return jax.nn.dot_product_attention(q, k, v, mask=mask_keep, implementation="cudnn")
    block = block_of_queries(q.shape[1], k.shape[1])
    if block == q.shape[1]:
        return jnp.einsum("b n t s, b s n d -> b t n d", attention_weights(q, k, mask_keep).astype(v.dtype), v)

    def one_head(head: tuple[Array, Array, Array]) -> Array:
        q, k, v = head

        @jax.checkpoint
        def some(q: Array) -> Array:
            logits = jnp.einsum("b t d, b d s -> b t s", q, k, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
            if mask_keep is not None:
                logits = jnp.where(mask_keep[:, 0], logits, jnp.finfo(jnp.float32).min)
            weights = jnp.exp(logits - jax.lax.stop_gradient(logits.max(axis=-1, keepdims=True)))
            out = jnp.einsum("b t s, b s d -> b t d", weights.astype(v.dtype), v, preferred_element_type=jnp.float32)
            return (out / weights.sum(axis=-1, keepdims=True)).astype(v.dtype)

        return jax.lax.map(some, rearrange(q, "b (m t) d -> m b t d", t=block))

    heads = (
        rearrange(q, "b t n d -> n b t d"),
        rearrange(k, "b s n d -> n b d s"),
        rearrange(v, "b s n d -> n b s d"),
    )
    out = jax.lax.map(one_head, heads) if jax.default_backend() == "cpu" else jax.vmap(one_head)(heads)
    return rearrange(out, "n m b t d -> b (m t) n d")


def block_of_queries(t: int, s: int) -> int:
    """How many of `t` queries are answered at a time: the largest divisor of t whose logits over s keys fit BLOCK_LOGITS, or 1."""
    most = min(t, max(1, BLOCK_LOGITS // s))
    return next(block for block in range(most, 0, -1) if t % block == 0)
