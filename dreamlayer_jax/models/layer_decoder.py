"""The layer decoder of LayerDiffusion: a U-Net on pixels that finds colour and alpha of a decoded foreground (paper §2).

The decoded picture says what is there, the latent what the autoencoder's decoder lost. The latent enters through a 1×1 convolution added
just before down block 3, at 1/8 of the side; the skip stored there is the tensor before the addition.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.config import LayerDecoderConfig
from dreamlayer_jax.models.conv_blocks import DownBlock2D, MidBlock2D, UpBlock2D
from dreamlayer_jax.models.resnet import conv3x3, group_norm

EPS = 1e-5
LATENT_BLOCK = 3  # 2**3 pixels a side per latent


class LayerDecoder(nn.Module):
    """(picture, latent) to alpha and colour."""

    config: LayerDecoderConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, rgb_01: Float[Array, "b h w 3"], latent: Float[Array, "b i j c"]) -> Float[Array, "b h w 4"]:
        """Channel 0 is alpha, 1-3 the straight colour, float32 and *not* clipped: see `rgba_straight` and `ensemble`.

        `latent` is unscaled. Sides must be multiples of 2 to the number of down blocks less one (64 for the published decoder).
        """
        c = self.config
        _check(c, rgb_01, latent)

        def head_dim(block: int) -> int | None:
            return c.attention_head_dim if c.attention[block] else None

        last = len(c.block_out_channels) - 1
        common = {"groups": c.norm_num_groups, "eps": EPS, "dtype": self.dtype}
        from_latent = nn.Conv(c.block_out_channels[LATENT_BLOCK - 1], (1, 1), dtype=self.dtype, name="latent_conv_in")(latent)

        x = conv3x3(c.block_out_channels[0], self.dtype, "conv_in")(rgb_01)
        skips = (x,)
        for i, channels in enumerate(c.block_out_channels):
            if i == LATENT_BLOCK:
                x = x + from_latent
            x, more = DownBlock2D(
                channels=channels,
                layers=c.layers_per_block,
                attention_head_dim=head_dim(i),
                downsample="symmetric" if i < last else None,
                name=f"down_blocks_{i}",
                **common,
            )(x)
            skips += more

        x = MidBlock2D(attention_head_dim=c.attention_head_dim, name="mid_block", **common)(x)

        for i, channels in enumerate(reversed(c.block_out_channels)):
            x = UpBlock2D(
                channels=channels,
                layers=c.layers_per_block + 1,
                attention_head_dim=head_dim(last - i),
                upsample=i < last,
                name=f"up_blocks_{i}",
                **common,
            )(x, skips[-(c.layers_per_block + 1) :])
            skips = skips[: -(c.layers_per_block + 1)]

        x = jax.nn.silu(group_norm(c.norm_num_groups, EPS, "conv_norm_out")(x)).astype(self.dtype)
        return conv3x3(c.out_channels, self.dtype, "conv_out")(x).astype(jnp.float32)


def _check(c: LayerDecoderConfig, rgb_01: Array, latent: Array) -> None:
    blocks, side = len(c.block_out_channels), 2 ** (len(c.block_out_channels) - 1)
    if blocks <= LATENT_BLOCK or len(c.attention) != blocks:
        raise ValueError(f"{blocks} blocks and {len(c.attention)} attention flags; give {LATENT_BLOCK + 1} or more blocks, a flag for each")
    height, width = rgb_01.shape[1:3]
    if height % side or width % side:
        raise ValueError(f"a picture of {height}x{width} pixels; both sides must be multiples of {side}: crop or pad")
    expected = (height // 2**LATENT_BLOCK, width // 2**LATENT_BLOCK)
    if latent.shape[1:3] != expected:
        raise ValueError(f"a latent of {latent.shape[1:3]} with a picture of {height}x{width} pixels; the latent must be {expected}")


def rgba_straight(alpha_rgb: Float[Array, "*b h w 4"]) -> Float[Array, "*b h w 4"]:
    """The decoder's (alpha, r, g, b) clipped to [0, 1], as straight (r, g, b, alpha)."""
    return jnp.roll(jnp.clip(alpha_rgb, 0.0, 1.0), -1, axis=-1)


def ensemble(
    decode: Callable[[Float[Array, "b h w 3"], Float[Array, "b i j c"]], Float[Array, "b h w 4"]],
    rgb_01: Float[Array, "b h w 3"],
    latent: Float[Array, "b i j c"],
) -> Float[Array, "b h w 4"]:
    """Lower median over {as is, flipped left-right} × {0, 90, 180, 270} degrees, each view clipped to [0, 1] and turned back.

    Eight times the work of `decode`, one view at a time. The lower median is the 4th smallest of 8: a value that some view gave.
    """
    height, width = rgb_01.shape[1:3]
    turns = [range(4)] if height == width else [(0, 2), (1, 3)]  # views of one shape share one traced network
    results = []
    for group in turns:
        views = [(flip, turn) for flip in (False, True) for turn in group]
        pictures = jnp.stack([_turn(rgb_01, flip, turn) for flip, turn in views])
        latents = jnp.stack([_turn(latent, flip, turn) for flip, turn in views])
        outputs = jax.lax.map(lambda pair: jnp.clip(decode(*pair), 0.0, 1.0), (pictures, latents))
        results += [_turn_back(output, flip, turn) for output, (flip, turn) in zip(outputs, views, strict=True)]
    return jnp.sort(jnp.stack(results), axis=0)[3]


def _turn(x: Float[Array, "b h w c"], flip: bool, turn: int) -> Float[Array, "b _ _ c"]:
    return jnp.rot90(x[:, :, ::-1] if flip else x, turn, axes=(1, 2))


def _turn_back(x: Float[Array, "b h w c"], flip: bool, turn: int) -> Float[Array, "b _ _ c"]:
    x = jnp.rot90(x, -turn, axes=(1, 2))
    return x[:, :, ::-1] if flip else x
