"""Context maps: Context-Aware Cross-Attention, CACA (paper §3.1), in the down path.

Eq. 3  M_j = softmax(ℓ_Q(z_j^{k+1}) ℓ_K(C_t^{k+1})ᵀ / √d)            of the global layer, mean over heads
Eq. 4  M_G^f = Norm(Σ_{s ∈ span f} Σ_j M_j^s)                        Norm = min-max per map
Eq. 5  M_G^{f,n+1} = CAL(M_G^{f,n}, Σ_j z_j^{k+1})                   n = 0 … N−1
The same extraction on a foreground's own layer and prompt gives M_F^f (for Eq. 7).
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Bool, Float

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.attention.core import attention
from dreamlayer_jax.config import LayeredConfig
from dreamlayer_jax.layer_axis import AxisNames, LayerContext, from_global


@flax.struct.dataclass
class LayerMaps:
    """One layer's maps at the context block's resolution, values in [0, 1]; zero where the layer has no words."""

    in_global: Float[Array, "b h w"]
    """M_G^{f,N}: where the global layer holds this layer's words."""
    in_own: Float[Array, "b h w"]
    """M_F^f: where the layer itself holds them."""


def min_max(m: Float[Array, "b h w"]) -> Float[Array, "b h w"]:
    """Norm of Eq. 4: each map stretched to [0, 1]; a constant map becomes 0."""
    low = m.min((1, 2), keepdims=True)
    span = m.max((1, 2), keepdims=True) - low
    return (m - low) / jnp.where(span > 1e-12, span, 1.0)


def map_of_words(weights: Float[Array, "b h w t"], words: Bool[Array, "b t"]) -> Float[Array, "b h w"]:
    """Eq. 4: the attention that the given words receive, summed over tokens and normed."""
    return min_max(jnp.einsum("b h w t, b t -> b h w", weights, words.astype(weights.dtype)))


def sinusoids_2d(height: int, width: int, features: int) -> Float[Array, "hw f"]:
    """Fixed position code of a grid, the same at every resolution: sines and cosines of both coordinates in [0, 1)."""
    waves = features // 4
    frequency = jnp.pi * 2.0 ** jnp.arange(waves)[None]
    y = (jnp.arange(height) + 0.5)[:, None] / height * frequency
    x = (jnp.arange(width) + 0.5)[:, None] / width * frequency
    y = jnp.broadcast_to(y[:, None], (height, width, waves))
    x = jnp.broadcast_to(x[None, :], (height, width, waves))
    return rearrange(jnp.concatenate([jnp.sin(y), jnp.cos(y), jnp.sin(x), jnp.cos(x)], axis=-1), "h w f -> (h w) f")


class ContextAwareLayer(nn.Module):
    """CAL of Eq. 5: multi-head attention (queries from the map, keys and values from the features), then an FFN.

    Its last projection starts at zero: untrained, it returns the map it was given. Output clipped to [0, 1].
    """

    width: int
    heads: int = 4
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, m: Float[Array, "b h w"], features: Float[Array, "b h w c"]) -> Float[Array, "b h w"]:
        b, h, w = m.shape

        def norm(name: str) -> nn.LayerNorm:
            return nn.LayerNorm(use_fast_variance=False, name=name)

        position = nn.Dense(self.width, name="position")(sinusoids_2d(h, w, self.width // 4 * 4)[None])
        tokens = nn.Dense(self.width, name="map_in")(m.reshape(b, h * w, 1)) + position
        source = norm("norm_features")(features.reshape(b, h * w, -1).astype(jnp.float32))
        source = nn.Dense(self.width, name="features_in")(source) + position

        def heads(x: Array, name: str) -> Array:
            return rearrange(nn.Dense(self.width, use_bias=False, name=name)(x), "b t (n d) -> b t n d", n=self.heads)

        out = attention(heads(norm("norm1")(tokens), "to_q"), heads(source, "to_k"), heads(source, "to_v"))
        tokens = tokens + nn.Dense(self.width, name="to_out")(rearrange(out, "b t n d -> b t (n d)"))
        hidden = jax.nn.gelu(nn.Dense(4 * self.width, name="ffn_in")(norm("norm2")(tokens)))
        change = nn.Dense(1, kernel_init=nn.initializers.zeros, name="ffn_out")(hidden)
        return jnp.clip(m + change.reshape(b, h, w), 0.0, 1.0)


class ContextMaps(nn.Module):
    """Eq. 4–5 for one layer, from the cross-attention that the context block collected."""

    config: LayeredConfig
    axis_names: AxisNames = ()

    @nn.compact
    def __call__(self, weights: Float[Array, "b h w t"], features: Float[Array, "b h w c"], layer: LayerContext) -> LayerMaps:
        """`weights` Σ_j M_j and `features` Σ_j z_j of this layer; the global layer's are fetched over the layer axis."""
        in_own = map_of_words(weights, layer.own)
        in_global = map_of_words(from_global(weights, layer.role, self.axis_names), layer.span)
        features = from_global(features, layer.role, self.axis_names)
        has_words = layer.span.any(axis=1)[:, None, None]
        for n in range(self.config.context_layers):
            refined = ContextAwareLayer(self.config.context_width, name=f"layers_{n}")(in_global, features)
            in_global = jnp.where(has_words, refined, 0.0)
        return LayerMaps(in_global=in_global, in_own=in_own)
