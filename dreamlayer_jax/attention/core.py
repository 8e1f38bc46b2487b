"""The one softmax attention that every block uses: O = softmax(Q Kᵀ / √d) V.

Shapes: queries `(b, t, n, d)`, keys and values `(b, s, n, d)`; softmax in float32 whatever the inputs are.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


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
    mask_keep: Bool[Array, "b #n #t s"] | None = None,
) -> Float[Array, "b t n d"]:
    """O = softmax(Q Kᵀ / √d) V, in the dtype of `v`."""
    weights = attention_weights(q, k, mask_keep).astype(v.dtype)
    return jnp.einsum("b n t s, b s n d -> b t n d", weights, v)
