"""Drawn cut-outs: six shapes in four colours."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from data.cutouts import Cutout, cropped

COLORS = {"red": (222, 44, 44), "yellow": (250, 204, 40), "blue": (44, 96, 222), "purple": (146, 62, 190)}
_SIDE = 128
_OVERSAMPLE = 4


def _circle() -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    return np.stack([np.cos(turn), np.sin(turn)], -1)


def _star() -> np.ndarray:
    turn = np.arange(10) * np.pi / 5 - np.pi / 2
    radius = np.where(np.arange(10) % 2 == 0, 1.0, 0.42)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn)], -1)


def _heart() -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    height = 13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn)
    return np.stack([np.sin(turn) ** 3, -height / 16], -1)


OUTLINES = {
    "circle": _circle(),
    "square": np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]),
    "triangle": np.array([(0, -1), (1, 0.9), (-1, 0.9)]),
    "diamond": np.array([(0, -1), (0.75, 0), (0, 1), (-0.75, 0)]),
    "star": _star(),
    "heart": _heart(),
}
"""Polygons within [-1, 1], y downwards."""


def shape_cutouts() -> tuple[Cutout, ...]:
    """The cut-outs "red circle", "red square" ... "purple heart", 24 in all, each with a darker rim."""
    return tuple(cropped(f"{color} {shape}", _drawn(outline, rgb)) for color, rgb in COLORS.items() for shape, outline in OUTLINES.items())


def _drawn(outline: np.ndarray, rgb: tuple[int, int, int]) -> Image.Image:
    side = _SIDE * _OVERSAMPLE
    picture = Image.new("RGBA", (side, side))
    draw = ImageDraw.Draw(picture)
    rim = tuple(round(0.7 * value) for value in rgb)
    for scale, color in ((0.46, rim), (0.39, rgb)):
        draw.polygon([(x, y) for x, y in (outline * scale + 0.5) * side], fill=(*color, 255))
    return picture.resize((_SIDE, _SIDE), Image.Resampling.BOX)
