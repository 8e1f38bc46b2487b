"""What layers tell each other at one position, after every attention of LayerDiffusion's files (Zhang and Agrawala, arXiv 2402.17113).

y_f = m_f + a_f                       what a frame's attention was given, and what it gave
z_f = W_i LN(y_f) + b_i
o_f = Σ_g softmax_g( (W_q z_f + b_q) · (W_k z_g + b_k) / √d ) (W_v z_g + b_v)         over the frames g, at each position by itself
τ_f = W_o o_f + b_o                   is added to a_f

A frame is a layer whose role the file was trained for. Nothing but its content tells frames apart. With one frame the softmax is 1 and τ is
affine in LN(y): `After` is that map, folded.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Bool, Float

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.attention.core import LOWEST
from dreamlayer_jax.layer_axis import AxisNames, gather

EPS = 1e-6  # of LayerDiffusion's LayerNorm; Stable Diffusion's have 1e-5


def attention_over_layers(
    q: Float[Array, "b t n d"], k: Float[Array, "b t n d"], v: Float[Array, "b t n d"], takes_part: Bool[Array, " b"], axis_names: AxisNames
) -> Float[Array, "b t n d"]:
    """o_f: each token attends to the tokens at its own position in all layers that take part; softmax in float32."""
    k, v, keep = gather(k, axis_names), gather(v, axis_names), gather(takes_part, axis_names)
    logits = jnp.einsum("b t n d, l b t n d -> b t n l", q, k, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
    weights = jax.nn.softmax(jnp.where(keep.T[:, None, None, :], logits, LOWEST), axis=-1)
    return jnp.einsum("b t n l, l b t n d -> b t n d", weights.astype(v.dtype), v)


class After(nn.Module):
    """τ of a single frame: M ŷ + b, where ŷ is LN(y) without scale and shift."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, y: Float[Array, "b t c"]) -> Float[Array, "b t c"]:
        normed = nn.LayerNorm(epsilon=EPS, dtype=jnp.float32, use_bias=False, use_scale=False, use_fast_variance=False)(y)
        return nn.Dense(y.shape[-1], dtype=self.dtype, name="proj")(normed.astype(self.dtype))


class Across(nn.Module):
    """τ of this layer among the frames; of a layer that takes no part it means nothing."""

    heads: int
    axis_names: AxisNames = ()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, y: Float[Array, "b t c"], takes_part: Bool[Array, " b"]) -> Float[Array, "b t c"]:
        def dense(x: Array, name: str) -> Array:
            return nn.Dense(y.shape[-1], dtype=self.dtype, name=name)(x)

        normed = nn.LayerNorm(epsilon=EPS, dtype=jnp.float32, use_fast_variance=False, name="norm")(y)
        z = dense(normed.astype(self.dtype), "proj_in")
        q, k, v = (rearrange(dense(z, name), "b t (n d) -> b t n d", n=self.heads) for name in ("to_q", "to_k", "to_v"))
        out = attention_over_layers(q, k, v, takes_part, self.axis_names)
        return dense(rearrange(out, "b t n d -> b t (n d)"), "proj_out")
