"""A contact sheet of scenes: the global picture, Eq. 1 of the layers, and every layer on a checkerboard, captioned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dreamlayer_jax.compositing import composite, from_uint8, over_checks, premultiply, to_uint8

_GAP, _LINE = 8, 18
_LEAST_LAYERS = 4  # columns that every sheet has
_SMALLEST, _LARGEST = 192, 320
_INK, _PAPER = (30, 30, 30), (250, 250, 248)


def sheet(examples: Sequence[dict[str, Any]], side: int) -> Image.Image:
    """One row a scene, every picture within a square of `side` pixels. A scene with an id is captioned by it."""
    columns = 2 + max(_LEAST_LAYERS, *(len(example["prompts"]) for example in examples))
    picture = Image.new("RGB", (columns * (side + _GAP) + _GAP, len(examples) * (side + _LINE + _GAP) + _GAP), _PAPER)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(13)
    for row, example in enumerate(examples):
        blend = to_uint8(composite(from_uint8(example["rgba"])))
        captions = (example["id"], "") if "id" in example else (f"seed {example['seed']}: global", "layers stacked, Eq. 1")
        cells = list(zip(captions, (example["global"], blend), strict=True))
        cells += [
            (prompt, to_uint8(over_checks(premultiply(from_uint8(layer)))))
            for prompt, layer in zip(example["prompts"], example["rgba"], strict=True)
        ]
        for column, (text, rgb) in enumerate(cells):
            x, y = _GAP + column * (side + _GAP), _GAP + row * (side + _LINE + _GAP)
            picture.paste(_within(rgb, side), (x, y))
            draw.text((x, y + side + 1), text, fill=_INK, font=font)
    return picture


def side_for(examples: Sequence[dict[str, Any]], zoom: int | None) -> int:
    """The side of a sheet's squares, by the largest picture: `zoom` times it; left out, from 192 pixels to 320."""
    largest = max(max(example["global"].shape[:2]) for example in examples)
    if zoom is not None:
        return largest * zoom
    return min(_LARGEST, largest * max(1, _SMALLEST // largest))


def _within(rgb: np.ndarray, side: int) -> Image.Image:
    height, width = rgb.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return Image.fromarray(rgb).resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX)
