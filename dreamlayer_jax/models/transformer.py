"""The transformer block of the UNet: self-attention, cross-attention to the prompt, feed-forward (diffusers' Transformer2DModel).

DreamLayer enters here at three places: K and V of foregrounds (paper §2), maps collected from cross-attention (§3.1), and layer-shared
self-attention (§3.2). LayerDiffusion's files enter at every attention. With `layer=None` a block is Stable Diffusion's own.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Bool, Float, Int

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.attention.core import attention, attention_weights
from dreamlayer_jax.attention.layer_shared import guide_by_global, layer_shared_attention, limited_attention, most_of, one_way_attention
from dreamlayer_jax.attention.position import Across, After
from dreamlayer_jax.attention.role_kernels import project
from dreamlayer_jax.attention.rotary import rotate_by_place
from dreamlayer_jax.config import LayerAttentionConfig, LayeredConfig, UNetConfig
from dreamlayer_jax.layer_axis import AxisNames, LayerContext, Role, as_one_batch
from dreamlayer_jax.models.resnet import group_norm


class Attention(nn.Module):
    """Projections around the one softmax attention, and around them what LayerDiffusion's files add (`attention/position.py`).

    With control the collection "control" holds the `added` C of this attention (`models/control.py`): C_f is in what the attention is given
    and, once more, in what it gives.
    """

    heads: int
    layered: LayeredConfig | None = None
    axis_names: AxisNames = ()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b t c"],
        source: Float[Array, "b s e"] | None = None,
        layer: LayerContext | None = None,
        shared: bool = False,
        return_weights: bool = False,
        grid: tuple[int, int] | None = None,
        keep: Bool[Array, "b s"] | None = None,
        few: Int[Array, "b m"] | None = None,
    ) -> tuple[Float[Array, "b t c"], Float[Array, "b t s"] | None]:
        """Returns the output and, if asked for, the attention weights as a mean over heads (Eq. 3).

        `source`: what keys and values are made from; `x` itself by default. `shared` joins keys and values over the layer axis.
        `grid`: height and width of the tokens, whose places then turn queries and keys. `keep`: keys that may be seen.
        `few`: which of its own keys a foreground shares; all by default.
        """
        channels = x.shape[-1]
        layered = self.layered if layer is not None else None
        control = self.get_variable("control", "added")
        x = x if control is None else x + control.astype(x.dtype)
        source = x if source is None else source

        def projected(y: Array, name: str, use_bias: bool = False) -> Array:
            role, own = (layer.role, layered.own_kernels(name)) if layered else (None, ())
            return project(y, channels, name, self.dtype, role, own, use_bias)

        def heads(y: Array) -> Array:
            return rearrange(y, "b t (n d) -> b t n d", n=self.heads)

        q, k, v = heads(projected(x, "to_q")), heads(projected(source, "to_k")), heads(projected(source, "to_v"))
        if grid is not None:
            q, k = rotate_by_place(q, *grid), rotate_by_place(k, *grid)
        weights = None
        mask = None if keep is None else keep[:, None, None, :]
        if few is not None:
            out = limited_attention(q, k, v, few, layer, self.axis_names)
        elif shared:
            one_way = layered.one_way and layer.keys == "all"
            out = (one_way_attention if one_way else layer_shared_attention)(q, k, v, layer, self.axis_names)
        elif return_weights:
            per_head = attention_weights(q, k, mask)
            out = jnp.einsum("b n t s, b s n d -> b t n d", per_head.astype(v.dtype), v)
            weights = per_head.mean(axis=1)
        else:
            out = as_one_batch(attention, self.axis_names, q, k, v, mask)
        out = projected(rearrange(out, "b t n d -> b t (n d)"), "to_out_0", use_bias=True)
        if layered and layered.layer_attention and layer.keys == "all":
            out = out + self._exchanged(x + out, layer, layered.layer_attention)
        return out if control is None else out + control.astype(out.dtype), weights

    def _exchanged(self, y: Float[Array, "b t c"], layer: LayerContext, added: LayerAttentionConfig) -> Float[Array, "b t c"]:
        """τ of the frames, zero for layers of other roles."""
        takes_part = jnp.stack([layer.role == Role[frame.upper()] for frame in added.frames]).any()
        takes_part = jnp.broadcast_to(takes_part, y.shape[:1]) if layer.valid is None else layer.valid & takes_part
        if added.exchange == "after":
            change = After(self.dtype, name="exchange")(y)
        else:
            change = Across(self.heads, self.axis_names, self.dtype, name="exchange")(y, takes_part)
        return jnp.where(takes_part[:, None, None], change, 0)


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

        def norm(name: str) -> Array:
            return nn.LayerNorm(epsilon=1e-5, dtype=jnp.float32, use_fast_variance=False, name=name)(x).astype(self.dtype)

        hidden = norm("norm1")
        if layered and self.up and layered.guided and layer.guided and layer.keys == "all" and context_map is not None:
            grid = hidden.reshape(b, h, w, c)
            hidden = guide_by_global(grid, context_map, t, layered.t_guided, layer, self.axis_names).reshape(b, h * w, c)
        shared = bool(layered and self.up and layered.layer_shared)
        limited = shared and layered.foreground_keys < 1 and layer.keys == "all" and context_map is not None
        few = most_of(context_map, (h, w), layered.foreground_keys) if limited else None
        attend = Attention(self.heads, layered, self.axis_names, self.dtype, name="attn1")
        x = x + attend(hidden, layer=layer, shared=shared, grid=(h, w) if self.rotary else None, few=few)[0]

        z = norm("norm2")
        attend = Attention(self.heads, layered, self.axis_names, self.dtype, name="attn2")
        keep = None if layer is None else layer.keep
        out, weights = attend(z, prompt.astype(self.dtype), layer, return_weights=self.collect, keep=keep)
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
