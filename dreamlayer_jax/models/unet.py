"""UNet2DConditionModel of Stable Diffusion 1.5 at any size, written for ONE layer of a scene.

The down path makes the context maps (CACA, paper §3.1), the up path uses them (LSSA, §3.2), so one forward pass computes the maps before
they are needed. Without a `LayerContext` the network is plain Stable Diffusion.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.attention.context_map import ContextMaps, LayerMaps
from dreamlayer_jax.config import LayeredConfig, UNetConfig
from dreamlayer_jax.layer_axis import AxisNames, LayerContext
from dreamlayer_jax.models.resnet import conv3x3, group_norm
from dreamlayer_jax.models.unet_blocks import DownBlock, MidBlock, UpBlock


@flax.struct.dataclass
class UNetOutput:
    """The prediction (ε, v or the clean latent: `ScheduleConfig.prediction_type`) and, for a layered call with CACA, the maps."""

    sample: Float[Array, "b h w c"]
    maps: LayerMaps | None


class TimestepEmbedding(nn.Module):
    """Cosines, then sines, of t at frequencies 10000^(−i/half), i = 0 … half−1 (flip_sin_to_cos, no shift), then two dense layers.

    e is 4 · `features`.
    """

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, t: Int[Array, " b"]) -> Float[Array, "b e"]:
        half = self.features // 2
        angle = t.astype(jnp.float32)[:, None] * jnp.exp(-math.log(10000) * jnp.arange(half) / half)[None]
        waves = jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)
        hidden = nn.Dense(4 * self.features, dtype=self.dtype, name="linear_1")(waves.astype(self.dtype))
        return nn.Dense(4 * self.features, dtype=self.dtype, name="linear_2")(jax.nn.silu(hidden))


class UNet2DCondition(nn.Module):
    """Latent, timestep and prompt to prediction. `layered` adds DreamLayer's parameters; `axis_names` is where the layers are mapped.

    `remat` is gradient checkpointing, see `Block`.
    """

    config: UNetConfig
    layered: LayeredConfig | None = None
    axis_names: AxisNames = ()
    dtype: Any = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        sample: Float[Array, "b h w c"],
        t: Int[Array, " b"],
        prompt: Float[Array, "b s d"],
        layer: LayerContext | None = None,
    ) -> UNetOutput:
        """Predicts for one layer.

        Args:
            sample: noisy `latent_scaled`; h and w divisible by 2^(blocks − 1).
            t: timestep of each scene, 0 … T − 1.
            prompt: prompt embedding of this layer.
            layer: role, validity and word spans; needed for everything that is layered.
        """
        widths = self.config.block_out_channels
        layered = self.layered if layer is not None else None
        with_maps = False
        if layered is not None and layered.context_map:
            with_maps = layer.maps or (layer.guided and layered.guided) or layered.foreground_keys < 1
        common = {"layered": self.layered, "axis_names": self.axis_names, "dtype": self.dtype, "remat": self.remat}

        temb = TimestepEmbedding(widths[0], self.dtype, name="time_embedding")(t)
        x = conv3x3(widths[0], self.dtype, "conv_in")(sample)
        skips, maps = [x], None
        for i in range(len(widths)):
            collect = with_maps and i == self.layered.context_block
            down = DownBlock(self.config, i, **common, collect=collect, name=f"down_blocks_{i}")
            x, new_skips, collected = down(x, temb, prompt, t, layer)
            skips += new_skips
            if collect:
                weights, features = (sum(part) for part in zip(*collected, strict=True))
                maps = ContextMaps(self.layered, self.axis_names, name="context_maps")(weights, features, layer)

        x = MidBlock(self.config, len(widths) - 1, **common, name="mid_block")(x, temb, prompt, t, layer)

        context_map = maps.in_global if maps is not None else None
        for i in range(len(widths)):
            up = UpBlock(self.config, len(widths) - 1 - i, **common, name=f"up_blocks_{i}")
            x = up(x, skips, temb, prompt, t, layer, context_map)

        x = jax.nn.silu(group_norm(self.config.norm_num_groups, 1e-5, "conv_norm_out")(x)).astype(self.dtype)
        return UNetOutput(conv3x3(self.config.out_channels, self.dtype, "conv_out")(x), maps if maps is not None and layer.maps else None)
