"""Scenes of any size as squares of one size: scaled until the shorter side fits, then the middle is cut out (paper §2)."""

from __future__ import annotations

import dataclasses

import numpy as np
from PIL import Image

from data.scenes import alpha_box
from data.source import Example, ExampleSource


def scale_and_centre_crop(pixels: np.ndarray, size: int) -> np.ndarray:
    """(h, w, 3 or 4) uint8 to (size, size, c): the central square over the whole shorter side, Lanczos; RGBA premultiplied meanwhile."""
    h, w = pixels.shape[:2]
    if (h, w) == (size, size):
        return pixels
    side = min(h, w)
    left, top = (w - side) / 2, (h - side) / 2
    square = Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
    return np.asarray(square)


@dataclasses.dataclass(frozen=True)
class SquareScenes:
    """Examples `indices` of `source`, `size` pixels a side; boxes follow."""

    source: ExampleSource
    size: int
    indices: range

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Example:
        """The example, cut."""
        example = self.source[self.indices[index]]
        rgba = np.stack([scale_and_centre_crop(layer, self.size) for layer in example["rgba"]])
        return {
            **example,
            "rgba": rgba,
            "global": scale_and_centre_crop(example["global"], self.size),
            "boxes": np.stack([alpha_box(layer[..., 3]) for layer in rgba]),
        }
