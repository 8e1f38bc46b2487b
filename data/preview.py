"""A contact sheet of scenes: the global picture, Eq. 1 of the layers, and every layer on a checkerboard, captioned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data.scenes import MAX_LAYERS
from dreamlayer_jax.compositing import composite, from_uint8, to_uint8

_GAP, _LINE = 8, 18
_INK, _PAPER = (30, 30, 30), (250, 250, 248)


def sheet(examples: Sequence[dict[str, Any]], zoom: int) -> Image.Image:
    """One row a scene. Every pixel of a scene is drawn `zoom` pixels wide."""
    side = examples[0]["global"].shape[0] * zoom
    columns = 2 + max(MAX_LAYERS, *(len(example["prompts"]) for example in examples))
    picture = Image.new("RGB", (columns * (side + _GAP) + _GAP, len(examples) * (side + _LINE + _GAP) + _GAP), _PAPER)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(13)
    for row, example in enumerate(examples):
        blend = to_uint8(composite(from_uint8(example["rgba"])))
        cells = [(f"seed {example['seed']}: global", example["global"]), ("layers stacked, Eq. 1", blend)]
        cells += [(prompt, _on_checkerboard(layer)) for prompt, layer in zip(example["prompts"], example["rgba"], strict=True)]
        for column, (text, rgb) in enumerate(cells):
            x, y = _GAP + column * (side + _GAP), _GAP + row * (side + _LINE + _GAP)
            picture.paste(Image.fromarray(rgb).resize((side, side), Image.Resampling.NEAREST), (x, y))
            draw.text((x, y + side + 1), text, fill=_INK, font=font)
    return picture


def _on_checkerboard(rgba: np.ndarray) -> np.ndarray:
    """A layer (h, w, 4) uint8 over light squares, a sixteenth of the picture a side, (h, w, 3) uint8."""
    h, w = rgba.shape[:2]
    squares = (np.arange(h)[:, None] * 16 // h + np.arange(w)[None] * 16 // w) % 2
    board = np.repeat((225 + 20 * squares)[..., None], 4, -1)
    board[..., 3] = 255
    return to_uint8(composite(from_uint8(np.stack([board.astype(np.uint8), rgba]))))
