"""Residual blocks and resampling, shared by the UNet, the autoencoder and the layer decoder (diffusers' `resnet.py`)."""

from __future__ import annotations

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from dreamlayer_jax.arrays import Array


def group_norm(groups: int, eps: float, name: str) -> nn.GroupNorm:
    """GroupNorm whose statistics and output are float32. E[x²] − E[x]² would lose the variance of states far from zero."""
    return nn.GroupNorm(num_groups=groups, epsilon=eps, dtype=jnp.float32, use_fast_variance=False, name=name)


def conv3x3(channels: int, dtype: Any, name: str, strides: int = 1, padding: Any = 1) -> nn.Conv:
    """3×3 convolution that keeps the side (stride 1) or halves it (stride 2)."""
    return nn.Conv(channels, (3, 3), strides=strides, padding=padding, dtype=dtype, name=name)


class ResnetBlock2D(nn.Module):
    """GroupNorm, SiLU, 3×3 convolution, twice, with the time embedding added between, around a shortcut."""

    out_channels: int
    groups: int = 32
    eps: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], temb: Float[Array, "b e"] | None = None) -> Float[Array, "b h w o"]:
        hidden = jax.nn.silu(group_norm(self.groups, self.eps, "norm1")(x)).astype(self.dtype)
        hidden = conv3x3(self.out_channels, self.dtype, "conv1")(hidden)
        if temb is not None:
            shift = nn.Dense(self.out_channels, dtype=self.dtype, name="time_emb_proj")(jax.nn.silu(temb))
            hidden = hidden + shift[:, None, None, :]
        hidden = jax.nn.silu(group_norm(self.groups, self.eps, "norm2")(hidden)).astype(self.dtype)
        hidden = conv3x3(self.out_channels, self.dtype, "conv2")(hidden)
        if x.shape[-1] != self.out_channels:
            x = nn.Conv(self.out_channels, (1, 1), dtype=self.dtype, name="conv_shortcut")(x)
        return x + hidden


class Downsample2D(nn.Module):
    """3×3 convolution of stride 2. The autoencoder's encoder pads (0, 1), everything else (1, 1)."""

    channels: int
    padding: Literal["symmetric", "asymmetric"] = "symmetric"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h/2 w/2 c"]:
        pad = (1, 1) if self.padding == "symmetric" else (0, 1)
        return conv3x3(self.channels, self.dtype, "conv", strides=2, padding=(pad, pad))(x)


class Upsample2D(nn.Module):
    """Nearest ×2, then a 3×3 convolution."""

    channels: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w c"]:
        x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
        return conv3x3(self.channels, self.dtype, "conv")(x)
