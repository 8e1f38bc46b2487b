"""The blocks that the UNet is made of: down, middle and up, each a row of residual blocks with or without transformers."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Int

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.config import LayeredConfig, UNetConfig
from dreamlayer_jax.layer_axis import AxisNames, LayerContext
from dreamlayer_jax.models.resnet import Downsample2D, ResnetBlock2D, Upsample2D
from dreamlayer_jax.models.transformer import Transformer2D

Collected = list[tuple[Array, Array]]


class Block(nn.Module):
    """What all three kinds of block share: their place in the network (`level` of `config`) and where the layers are mapped.

    With `remat`, gradient checkpointing: of every residual block and transformer the backward pass keeps the input and computes the rest
    again.
    """

    config: UNetConfig
    level: int
    layered: LayeredConfig | None = None
    axis_names: AxisNames = ()
    dtype: Any = jnp.float32
    remat: bool = False

    def resnet(self, i: int) -> ResnetBlock2D:
        """The i-th residual block."""
        channels = self.config.block_out_channels[self.level]
        return self._checkpointed(ResnetBlock2D)(channels, self.config.norm_num_groups, 1e-5, self.dtype, name=f"resnets_{i}")

    def transformer(self, i: int, up: bool = False, collect: bool = False) -> Transformer2D:
        """The i-th transformer."""
        heads = self.config.heads[self.level]
        kind = self._checkpointed(Transformer2D)
        return kind(self.config, heads, self.layered, self.axis_names, up, collect, self.dtype, name=f"attentions_{i}")

    def _checkpointed(self, kind: type[nn.Module]) -> type[nn.Module]:
        return nn.remat(kind) if self.remat else kind


class DownBlock(Block):
    """CrossAttnDownBlock2D or DownBlock2D; `collect` gathers what the context maps are made of."""

    collect: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], temb: Array, prompt: Array, t: Int[Array, " b"], layer: LayerContext | None
    ) -> tuple[Array, list[Array], Collected]:
        """Returns the hidden states, the skips and the collected (weights, features)."""
        skips, collected = [], []
        for i in range(self.config.layers_per_block):
            x = self.resnet(i)(x, temb)
            if self.config.cross_attention[self.level]:
                x, found = self.transformer(i, collect=self.collect)(x, prompt, t, layer)
                collected += found
            skips.append(x)
        if self.level + 1 < len(self.config.block_out_channels):
            x = Downsample2D(x.shape[-1], dtype=self.dtype, name="downsamplers_0")(x)
            skips.append(x)
        return x, skips, collected


class MidBlock(Block):
    """UNetMidBlock2DCrossAttn."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], temb: Array, prompt: Array, t: Int[Array, " b"], layer: LayerContext | None) -> Array:
        """Returns the hidden states."""
        x = self.resnet(0)(x, temb)
        x, _ = self.transformer(0)(x, prompt, t, layer)
        return self.resnet(1)(x, temb)


class UpBlock(Block):
    """CrossAttnUpBlock2D or UpBlock2D: takes one skip per residual block; its self-attention is layer-shared (paper §3.2)."""

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        skips: list[Array],
        temb: Array,
        prompt: Array,
        t: Int[Array, " b"],
        layer: LayerContext | None,
        context_map: Float[Array, "b mh mw"] | None,
    ) -> Array:
        """Returns the hidden states; pops its skips off the end of the list."""
        for i in range(self.config.layers_per_block + 1):
            x = self.resnet(i)(jnp.concatenate([x, skips.pop()], axis=-1), temb)
            if self.config.cross_attention[self.level]:
                x, _ = self.transformer(i, up=True)(x, prompt, t, layer, context_map)
        if self.level > 0:
            x = Upsample2D(x.shape[-1], dtype=self.dtype, name="upsamplers_0")(x)
        return x
