"""Holes filled by our own Stable Diffusion, without PyTorch: the one file of `data` that stands on the model."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from dreamlayer_jax.model import Model

CONTEXT = 0.5
"""Of the hole's larger side: how much of the picture around it the model sees."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DiffusionFill:
    """Fills a hole from a square around it, at the model's own size. `steps` and `guidance` are the model's own where not given."""

    model: Model
    steps: int | None = None
    guidance: float | None = None

    def __call__(self, picture: np.ndarray, hole: np.ndarray, prompt: str, negative: str, seed: int) -> np.ndarray:
        """The picture with something else in the hole; see `data.peel.stages.Fill`."""
        from dreamlayer_jax.stable_diffusion import inpaint

        if not hole.any():
            return picture.copy()
        box, config = square_around(hole), self.model.config
        side = config.side_multiple * -(-config.sample_size // config.side_multiple)
        left, top, right, bottom = box
        scene = Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS, box=box)
        mask = Image.fromarray(hole[top:bottom, left:right]).resize((side, side), Image.Resampling.NEAREST)
        painted = inpaint(
            self.model, np.asarray(scene)[None], np.asarray(mask)[None], [prompt], negative_prompt=negative,
            seed=seed % 2**32, steps=self.steps, guidance=self.guidance,
        )[0]  # fmt: skip
        result = picture.copy()
        result[top:bottom, left:right] = np.asarray(Image.fromarray(painted).resize((right - left, bottom - top), Image.Resampling.LANCZOS))
        return result


def square_around(hole: np.ndarray) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of a square around the hole with its surroundings, inside the picture; the whole shorter side at most."""
    height, width = hole.shape
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    tall, wide = rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0]
    side = round(max(tall, wide) * (1 + 2 * CONTEXT))
    if side > min(height, width):
        return (0, 0, width, height) if max(tall, wide) > min(height, width) else _square(rows, columns, min(height, width), hole.shape)
    return _square(rows, columns, side, hole.shape)


def _square(rows: np.ndarray, columns: np.ndarray, side: int, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    top = min(max(0, (rows[0] + rows[-1] + 1 - side) // 2), shape[0] - side)
    left = min(max(0, (columns[0] + columns[-1] + 1 - side) // 2), shape[1] - side)
    return int(left), int(top), int(left + side), int(top + side)
