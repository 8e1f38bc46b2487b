"""How a given picture steers LayerDiffusion's fg2bg and bg2fg (Zhang and Agrawala, arXiv 2402.17113).

C_f = conv1×1( SiLU( conv3×3(signal) ) ) of each attention and frame, where `signal` is the picture encoded at that attention's resolution.
An attention whose input is h then gets m_f = h_f + C_f, and gives C_f beside its output. C_f knows nothing of t or of the prompt: it is
computed once a run.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import unflatten_dict
from jaxtyping import Float

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.config import LayerAttentionConfig, UNetConfig
from dreamlayer_jax.models.attention_sites import attention_sites
from dreamlayer_jax.models.resnet import conv3x3

BOTH_SIDES = ((1, 1), (1, 1))  # stride 2 too


class ControlEncoder(nn.Module):
    """Convolutions, SiLU after each: `widths` at 1, 1/2, … of the picture's side, then halved further with the last width kept."""

    widths: tuple[int, ...]
    levels: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, picture_pm1: Float[Array, "b H W 3"]) -> list[Float[Array, "b h w c"]]:
        """The signal of each level of the UNet, finest first."""
        blocks = [[layer for i, width in enumerate(self.widths) for layer in ((width, 2 if i else 1), (width, 1))]]
        blocks += [[(self.widths[-1], 2), (self.widths[-1], 1)]] * (self.levels - 1)
        x, signals = picture_pm1.astype(self.dtype), []
        for j, block in enumerate(blocks):
            for n, (width, stride) in enumerate(block):
                x = jax.nn.silu(conv3x3(width, self.dtype, f"blocks_{j}_layers_{n}", stride, BOTH_SIDES)(x))
            signals.append(x)
        return signals


class ControlConvs(nn.Module):
    """C_f of one attention, from the signal at its resolution."""

    channels: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, signal: Float[Array, "b h w s"]) -> Float[Array, "b hw c"]:
        hidden = jax.nn.silu(conv3x3(signal.shape[-1], self.dtype, "conv_in")(signal))
        c = nn.Conv(self.channels, (1, 1), dtype=self.dtype, name="conv_out")(hidden)
        return c.reshape(len(c), -1, self.channels)


class Control(nn.Module):
    """A picture to the C_f of all attentions and frames."""

    unet: UNetConfig
    layer_attention: LayerAttentionConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, picture_pm1: Float[Array, "b H W 3"]) -> dict[str, Any]:
        """A tree like the UNet's: at each attention `{"added": C}`, of shape (l, b, t, c), the frames in the file's order along l.

        `picture_pm1` is in [−1, 1], in the canvas's size; what is transparent lies on mid-grey.
        """
        levels = len(self.unet.block_out_channels)
        signals = ControlEncoder(self.layer_attention.control_widths, levels, self.dtype, name="encoder")(picture_pm1)
        tree = {}
        for i, site in enumerate(attention_sites(self.unet)):
            of_frame = [ControlConvs(site.channels, self.dtype, name=f"{frame}_{i}") for frame in self.layer_attention.frames]
            tree[(*site.path, "added")] = jnp.stack([convs(signals[site.level]) for convs in of_frame])
        return unflatten_dict(tree)
