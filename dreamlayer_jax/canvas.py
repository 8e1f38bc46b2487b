"""Pictures of any size on a model's canvas, and back."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from dreamlayer_jax.compositing import premultiply, unpremultiply

AnyPixels = UInt8[np.ndarray, "H W c"] | Float[np.ndarray, "H W c"]


@dataclasses.dataclass(frozen=True)
class Canvas:
    """Where a picture of `size` lies on a canvas of `onto` (height, width): scaled to fit, in the middle, its border repeated outwards."""

    size: tuple[int, int]
    onto: tuple[int, int]

    @property
    def inner(self) -> tuple[int, int, int, int]:
        """Top, left, height and width of the picture on the canvas, at least one pixel each way."""
        scale = min(side / own for side, own in zip(self.onto, self.size, strict=True))
        height, width = (min(side, max(1, round(own * scale))) for side, own in zip(self.onto, self.size, strict=True))
        return (self.onto[0] - height) // 2, (self.onto[1] - width) // 2, height, width

    def place(self, pixels: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "H W c"]:
        """The picture on the canvas."""
        top, left, height, width = self.inner
        resized = _resize(pixels, height, width)
        around = ((top, self.onto[0] - top - height), (left, self.onto[1] - left - width), (0, 0))
        return np.pad(resized, around, mode="edge")

    def take(self, pixels: AnyPixels) -> UInt8[np.ndarray, "h w c"] | Float[np.ndarray, "h w c"]:
        """What the canvas shows (H, W, c), in the picture's own size (h, w, c)."""
        top, left, height, width = self.inner
        return _resize(pixels[top : top + height, left : left + width], *self.size)


def _resize(
    pixels: AnyPixels, height: int, width: int
) -> UInt8[np.ndarray, "{height} {width} c"] | Float[np.ndarray, "{height} {width} c"]:
    """Pillow's Lanczos filter; RGBA is resampled premultiplied. Floats of four channels are straight RGBA in [0, 1]."""
    if pixels.shape[:2] == (height, width):
        return pixels
    if pixels.dtype != np.uint8:
        straight_rgba = pixels.shape[-1] == 4
        flat = premultiply(pixels) if straight_rgba else pixels
        channels = [Image.fromarray(channel).resize((width, height), Image.Resampling.LANCZOS) for channel in np.moveaxis(flat, -1, 0)]
        resized = np.stack([np.asarray(channel) for channel in channels], axis=-1)
        return unpremultiply(np.clip(resized, 0, 1)) if straight_rgba else resized
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))
