"""The transformer block of the UNet: self-attention, cross-attention to the prompt, feed-forward (diffusers' Transformer2DModel).

DreamLayer enters here at three places: K and V of foregrounds (paper §2), maps collected from cross-attention (§3.1), and layer-shared
self-attention (§3.2). With `layer=None` a block is Stable Diffusion's own.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int

from dreamlayer_jax.attention.core import attention, attention_weights
from dreamlayer_jax.attention.foreground_kv import project
from dreamlayer_jax.attention.layer_shared import guide_by_global, layer_shared_attention
from dreamlayer_jax.attention.rotary import rotate_by_place
from dreamlayer_jax.config import LayeredConfig, UNetConfig
from dreamlayer_jax.layer_axis import AxisNames, LayerContext
from dreamlayer_jax.models.resnet import group_norm


class Attention(nn.Module):
    """Projections around the one softmax attention. `kv_role` chooses the K/V set; `shared` joins keys and values over the layer axis."""

    heads: int
    axis_names: AxisNames = ()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b t c"],
        source: Float[Array, "b s e"],
        kv_role: Int[Array, ""] | None = None,
        shared: LayerContext | None = None,
        return_weights: bool = False,
        grid: tuple[int, int] | None = None,
        keep: Bool[Array, "b s"] | None = None,
    ) -> tuple[Float[Array, "b t c"], Float[Array, "b t s"] | None]:
        """Returns the output and, if asked for, the attention weights as a mean over heads (Eq. 3).

        `grid`: height and width of the tokens, whose places then turn queries and keys. `keep`: keys that may be seen.
        """
        channels = x.shape[-1]

        def split(y: Array) -> Array:
            return rearrange(y, "b t (n d) -> b t n d", n=self.heads)

        q = split(project(x, channels, "to_q", self.dtype))
        k = split(project(source, channels, "to_k", self.dtype, kv_role))
        v = split(project(source, channels, "to_v", self.dtype, kv_role))
        if grid is not None:
            q, k = rotate_by_place(q, *grid), rotate_by_place(k, *grid)
        weights = None
        mask = None if keep is None else keep[:, None, None, :]
        if shared is not None:
            out = layer_shared_attention(q, k, v, shared.valid, self.axis_names)
        elif return_weights:
            per_head = attention_weights(q, k, mask)
            out = jnp.einsum("b n t s, b s n d -> b t n d", per_head.astype(v.dtype), v)
            weights = per_head.mean(axis=1)
        else:
            out = attention(q, k, v, mask)
        return nn.Dense(channels, dtype=self.dtype, name="to_out_0")(rearrange(out, "b t n d -> b t (n d)")), weights


class GEGLU(nn.Module):
    """x W₁ · GELU(x W₂)."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t f"]:
        hidden, gate = jnp.split(nn.Dense(2 * self.features, dtype=self.dtype, name="proj")(x), 2, axis=-1)
        return hidden * jax.nn.gelu(gate, approximate=False)


class FeedForward(nn.Module):
    """GEGLU four times as wide, then back."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t c"]:
        hidden = GEGLU(4 * x.shape[-1], self.dtype, name="net_0")(x)
        return nn.Dense(x.shape[-1], dtype=self.dtype, name="net_2")(hidden)


class BasicTransformerBlock(nn.Module):
    """Self-attention, cross-attention, feed-forward, each behind a LayerNorm and a residual."""

    heads: int
    layered: LayeredConfig | None = None
    axis_names: AxisNames = ()
    up: bool = False
    collect: bool = False
    rotary: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        prompt: Float[Array, "b s e"],
        t: Int[Array, " b"],
        layer: LayerContext | None = None,
        context_map: Float[Array, "b mh mw"] | None = None,
    ) -> tuple[Float[Array, "b h w c"], tuple[Array, Array] | None]:
        """Returns the hidden states and, where maps are collected, Eq. 3's weights and the features z_j they were made from."""
        b, h, w, c = x.shape
        x = x.reshape(b, h * w, c)
        layered = self.layered if layer is not None else None
        kv_role = layer.role if layered and layered.foreground_kv else None

        def norm(name: str) -> Array:
            return nn.LayerNorm(epsilon=1e-5, dtype=jnp.float32, use_fast_variance=False, name=name)(x).astype(self.dtype)

        hidden = norm("norm1")
        if layered and self.up and layered.guided and context_map is not None:
            grid = hidden.reshape(b, h, w, c)
            hidden = guide_by_global(grid, context_map, t, layered.t_guided, layer, self.axis_names).reshape(b, h * w, c)
        shared = layer if layered and self.up and layered.layer_shared else None
        attend = Attention(self.heads, self.axis_names, self.dtype, name="attn1")
        x = x + attend(hidden, hidden, kv_role, shared, grid=(h, w) if self.rotary else None)[0]

        z = norm("norm2")
        attend = Attention(self.heads, self.axis_names, self.dtype, name="attn2")
        keep = None if layer is None else layer.keep
        out, weights = attend(z, prompt.astype(self.dtype), kv_role, return_weights=self.collect, keep=keep)
        x = x + out
        x = x + FeedForward(self.dtype, name="ff")(norm("norm3"))
        collected = (weights.reshape(b, h, w, -1), z.reshape(b, h, w, c)) if self.collect else None
        return x.reshape(b, h, w, c), collected


class Transformer2D(nn.Module):
    """GroupNorm, projection in, transformer blocks, projection out, residual."""

    config: UNetConfig
    heads: int
    layered: LayeredConfig | None = None
    axis_names: AxisNames = ()
    up: bool = False
    collect: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        prompt: Float[Array, "b s e"],
        t: Int[Array, " b"],
        layer: LayerContext | None = None,
        context_map: Float[Array, "b mh mw"] | None = None,
    ) -> tuple[Float[Array, "b h w c"], list[tuple[Array, Array]]]:
        """Returns the hidden states and what each block collected for the context maps."""

        def projection(y: Array, name: str) -> Array:
            if self.config.use_linear_projection:
                return nn.Dense(x.shape[-1], dtype=self.dtype, name=name)(y)
            return nn.Conv(x.shape[-1], (1, 1), dtype=self.dtype, name=name)(y)

        hidden = projection(group_norm(self.config.norm_num_groups, 1e-6, "norm")(x).astype(self.dtype), "proj_in")
        collected = []
        for i in range(self.config.transformer_layers_per_block):
            block = BasicTransformerBlock(
                self.heads,
                self.layered,
                self.axis_names,
                self.up,
                self.collect,
                self.config.rotary,
                self.dtype,
                name=f"transformer_blocks_{i}",
            )
            hidden, found = block(hidden, prompt, t, layer, context_map)
            collected += [found] if found is not None else []
        return x + projection(hidden, "proj_out"), collected
