"""Pictures of any size on a model's canvas, and back."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import UInt8
from PIL import Image


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

    def take(self, pixels: UInt8[np.ndarray, "H W c"]) -> UInt8[np.ndarray, "h w c"]:
        """What the canvas shows, in the picture's own size."""
        top, left, height, width = self.inner
        return _resize(pixels[top : top + height, left : left + width], *self.size)


def _resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pillow's Lanczos filter; RGBA is resampled premultiplied."""
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))
