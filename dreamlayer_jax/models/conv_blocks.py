"""Down, middle and up blocks without text, shared by the autoencoder and the layer decoder.

They are diffusers' DownBlock2D, AttnDownBlock2D, UNetMidBlock2D, UpBlock2D, AttnUpBlock2D and the autoencoder's encoder and decoder blocks,
which differ only in what the fields below say.
"""

from __future__ import annotations

from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Float

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.attention.core import attention
from dreamlayer_jax.models.resnet import Downsample2D, ResnetBlock2D, Upsample2D, group_norm


class SpatialAttention(nn.Module):
    """Self-attention over all positions of a map, around a shortcut; `head_dim` channels a head."""

    head_dim: int
    groups: int
    eps: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        channels = x.shape[-1]
        if channels % self.head_dim:
            raise ValueError(f"{channels} channels do not divide into attention heads of {self.head_dim}; change the block's channels")

        tokens = rearrange(group_norm(self.groups, self.eps, "group_norm")(x).astype(self.dtype), "b h w c -> b (h w) c")

        def heads(name: str) -> Float[Array, "b t n d"]:
            return rearrange(nn.Dense(channels, dtype=self.dtype, name=name)(tokens), "b t (n d) -> b t n d", d=self.head_dim)

        out = rearrange(attention(heads("to_q"), heads("to_k"), heads("to_v")), "b t n d -> b t (n d)")
        out = nn.Dense(channels, dtype=self.dtype, name="to_out_0")(out)
        return x + out.reshape(x.shape)


class DownBlock2D(nn.Module):
    """`layers` residual blocks, each followed by attention if `attention_head_dim` is given, then stride 2 unless `downsample` is None."""

    channels: int
    layers: int
    groups: int
    eps: float
    attention_head_dim: int | None = None
    downsample: Literal["symmetric", "asymmetric"] | None = "symmetric"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> tuple[Float[Array, "b _ _ c"], tuple[Array, ...]]:
        """Returns the block's output and, in order, every state an up block takes as a skip."""
        skips = []
        for i in range(self.layers):
            x = ResnetBlock2D(self.channels, self.groups, self.eps, self.dtype, name=f"resnets_{i}")(x)
            if self.attention_head_dim is not None:
                x = SpatialAttention(self.attention_head_dim, self.groups, self.eps, self.dtype, name=f"attentions_{i}")(x)
            skips.append(x)
        if self.downsample is not None:
            x = Downsample2D(self.channels, self.downsample, self.dtype, name="downsamplers_0")(x)
            skips.append(x)
        return x, tuple(skips)


class MidBlock2D(nn.Module):
    """Residual block, attention if `attention_head_dim` is given, residual block."""

    groups: int
    eps: float
    attention_head_dim: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        channels = x.shape[-1]
        x = ResnetBlock2D(channels, self.groups, self.eps, self.dtype, name="resnets_0")(x)
        if self.attention_head_dim is not None:
            x = SpatialAttention(self.attention_head_dim, self.groups, self.eps, self.dtype, name="attentions_0")(x)
        return ResnetBlock2D(channels, self.groups, self.eps, self.dtype, name="resnets_1")(x)


class UpBlock2D(nn.Module):
    """`layers` residual blocks, each with attention if `attention_head_dim` is given, then ×2 if `upsample`."""

    channels: int
    layers: int
    groups: int
    eps: float
    attention_head_dim: int | None = None
    upsample: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"], skips: tuple[Array, ...] = ()) -> Float[Array, "b _ _ c"]:
        """`skips` are concatenated last first, one a residual block; none for the autoencoder."""
        for i in range(self.layers):
            if skips:
                x = jnp.concatenate([x, skips[-1 - i]], axis=-1)
            x = ResnetBlock2D(self.channels, self.groups, self.eps, self.dtype, name=f"resnets_{i}")(x)
            if self.attention_head_dim is not None:
                x = SpatialAttention(self.attention_head_dim, self.groups, self.eps, self.dtype, name=f"attentions_{i}")(x)
        return Upsample2D(self.channels, self.dtype, name="upsamplers_0")(x) if self.upsample else x
