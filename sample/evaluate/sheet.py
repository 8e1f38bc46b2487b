"""Rows of scenes on one picture: the contact sheet of an evaluation, and the gallery."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dreamlayer_jax.compositing import to_uint8
from dreamlayer_jax.export.sheet import INK, PAPER, enlarge, on_checks
from sample.evaluate.scenes import WHOLE, ScenePictures

TILE, GAP, MARGIN, CAPTION = 160, 10, 16, 26
ROWS_PER_K = 4


def draw_rows(headings: Sequence[str], rows: Sequence[tuple[str, Sequence[Image.Image]]]) -> Image.Image:
    """Rows of a caption and tiles of `TILE` pixels a side, under column headings."""
    row = CAPTION + TILE + GAP
    sheet = Image.new("RGB", (2 * MARGIN + len(headings) * (TILE + GAP) - GAP, 2 * MARGIN + 20 + len(rows) * row), PAPER)
    brush, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for column, heading in enumerate(headings):
        brush.text((MARGIN + column * (TILE + GAP), MARGIN), heading, fill=INK, font=font)
    for number, (caption, tiles) in enumerate(rows):
        top = MARGIN + 20 + number * row
        brush.text((MARGIN, top + 6), caption, fill=INK, font=font)
        for column, tile in enumerate(tiles):
            sheet.paste(tile, (MARGIN + column * (TILE + GAP), top + CAPTION))
    return sheet


def layer_headings(layers: int) -> list[str]:
    """The layers' columns, far to near."""
    return ["background", *(f"foreground {i}" for i in range(1, layers))]


def layer_tiles(rgba: Sequence[np.ndarray]) -> list[Image.Image]:
    """Straight layers, uint8 (h, w, 4), on a checkerboard."""
    return [on_checks(layer, TILE) for layer in rgba]


def contact_sheet(scenes: Sequence[ScenePictures], per_k: int = ROWS_PER_K) -> Image.Image:
    """The first `per_k` scenes of each layer count, by seed, no choosing: whole pictures, then layers far to near."""
    ordered = sorted(scenes, key=lambda scene: (len(scene.names), scene.seed))
    counts = [len(scene.names) for scene in ordered]
    shown = [scene for n, scene in enumerate(ordered) if n - counts.index(counts[n]) < per_k]
    whole = [role for role in WHOLE if any(len(scene.pictures(role)) for scene in shown)]
    rows = []
    for scene in shown:
        tiles = [enlarge(to_uint8(picture), TILE) for role in whole for picture in scene.pictures(role)]
        rows.append((f"{scene.seed}: {' · '.join(scene.prompts)}", [*tiles, *layer_tiles(scene.rgba)]))
    return draw_rows([*whole, *layer_headings(max(counts))], rows)
