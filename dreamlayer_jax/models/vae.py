"""AutoencoderKL: pictures to latents and back (paper §2: f = 8, four channels, scale 0.18215 for Stable Diffusion 1.5).

Latents here are *not* scaled; the diffusion model sees `latent_scaled = mean * config.scaling_factor`.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Float

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.config import VAEConfig
from dreamlayer_jax.models.conv_blocks import DownBlock2D, MidBlock2D, UpBlock2D
from dreamlayer_jax.models.resnet import conv3x3, group_norm

EPS = 1e-6
LOGVAR_RANGE = (-30.0, 20.0)  # diffusers' DiagonalGaussianDistribution


class Encoder(nn.Module):
    """Pixels (patches folded in) to the 2·latent_channels moments, before `quant_conv`."""

    config: VAEConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ m"]:
        c = self.config
        x = conv3x3(c.block_out_channels[0], self.dtype, "conv_in")(x)
        last = len(c.block_out_channels) - 1
        for i, channels in enumerate(c.block_out_channels):
            x, _ = DownBlock2D(
                channels=channels,
                layers=c.layers_per_block,
                groups=c.norm_num_groups,
                eps=EPS,
                downsample="asymmetric" if i < last else None,
                dtype=self.dtype,
                name=f"down_blocks_{i}",
            )(x)
        return _head(c, self.dtype, _middle(c, self.dtype)(x), 2 * c.latent_channels)


class Decoder(nn.Module):
    """Latent, after `post_quant_conv`, to pixels (patches still folded in)."""

    config: VAEConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Float[Array, "b h w c"]) -> Float[Array, "b _ _ p"]:
        c = self.config
        x = conv3x3(c.block_out_channels[-1], self.dtype, "conv_in")(z)
        x = _middle(c, self.dtype)(x)
        last = len(c.block_out_channels) - 1
        for i, channels in enumerate(reversed(c.block_out_channels)):
            x = UpBlock2D(
                channels=channels,
                layers=c.layers_per_block + 1,
                groups=c.norm_num_groups,
                eps=EPS,
                upsample=i < last,
                dtype=self.dtype,
                name=f"up_blocks_{i}",
            )(x)
        return _head(c, self.dtype, x, c.in_channels * c.patch_size**2)


def _middle(c: VAEConfig, dtype: Any) -> MidBlock2D:
    head_dim = c.block_out_channels[-1] if c.mid_block_add_attention else None  # one head
    return MidBlock2D(c.norm_num_groups, EPS, head_dim, dtype, name="mid_block")


def _head(c: VAEConfig, dtype: Any, x: Float[Array, "b h w i"], channels: int) -> Float[Array, "b h w o"]:
    x = jax.nn.silu(group_norm(c.norm_num_groups, EPS, "conv_norm_out")(x)).astype(dtype)
    return conv3x3(channels, dtype, "conv_out")(x)


class AutoencoderKL(nn.Module):
    """The autoencoder; call `encode` and `decode` by `apply(..., method="encode")`."""

    config: VAEConfig
    dtype: Any = jnp.float32

    def setup(self) -> None:
        c = self.config
        self.encoder = Encoder(c, self.dtype)
        self.decoder = Decoder(c, self.dtype)
        self.quant_conv = nn.Conv(2 * c.latent_channels, (1, 1), dtype=self.dtype)
        self.post_quant_conv = nn.Conv(c.latent_channels, (1, 1), dtype=self.dtype)
        if c.linear_path:
            self.linear_encode = nn.Dense(c.latent_channels, use_bias=False, dtype=self.dtype)
            self.linear_decode = nn.Dense(c.in_channels * c.downscale**2, use_bias=False, dtype=self.dtype)

    def encode(self, rgb_pm1: Float[Array, "b H W 3"]) -> tuple[Float[Array, "b h w c"], Float[Array, "b h w c"]]:
        """Mean and log variance (clipped to [-30, 20]) of the unscaled latent, float32; H and W must be multiples of `config.downscale`."""
        side = self.config.downscale
        if rgb_pm1.shape[1] % side or rgb_pm1.shape[2] % side:
            raise ValueError(
                f"{rgb_pm1.shape[1]}x{rgb_pm1.shape[2]} pixels; both sides must be multiples of {side}: crop or pad the picture"
            )
        moments = self.quant_conv(self.encoder(to_patches(rgb_pm1, self.config.patch_size))).astype(jnp.float32)
        mean, logvar = jnp.split(moments, 2, axis=-1)
        if self.config.linear_path:
            mean += self.linear_encode(to_patches(rgb_pm1, side)).astype(jnp.float32)
        return mean, jnp.clip(logvar, *LOGVAR_RANGE)

    def decode(self, latent: Float[Array, "b h w c"]) -> Float[Array, "b H W 3"]:
        """Picture in about [-1, 1] (not clipped), float32, of an unscaled latent."""
        rgb_pm1 = from_patches(self.decoder(self.post_quant_conv(latent)).astype(jnp.float32), self.config.patch_size)
        if self.config.linear_path:
            rgb_pm1 += from_patches(self.linear_decode(latent).astype(jnp.float32), self.config.downscale)
        return rgb_pm1

    def __call__(self, rgb_pm1: Float[Array, "b H W 3"]) -> tuple[Array, Array, Array]:
        """Reconstruction of the mean latent, mean, log variance; touches every parameter, so it is also what `init` runs."""
        mean, logvar = self.encode(rgb_pm1)
        return self.decode(mean), mean, logvar


def to_patches(picture: Float[Array, "*b H W c"], side: int) -> Float[Array, "*b h w p"]:
    """Squares of `side` pixels folded into channels: p = c·side², the picture's channel first."""
    return rearrange(picture, "... (h p) (w q) c -> ... h w (c p q)", p=side, q=side)


def from_patches(patches: Float[Array, "*b h w p"], side: int) -> Float[Array, "*b H W c"]:
    """The inverse of `to_patches`."""
    return rearrange(patches, "... h w (c p q) -> ... (h p) (w q) c", p=side, q=side)
