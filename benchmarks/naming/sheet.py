"""Numbered tiles in shuffled order, pages of them, and the key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.naming.scenes import Subject
from dreamlayer_jax.export.sheet import INK, PAPER, enlarge, on_checks
from sample.evaluate.scenes import ScenePictures

Kind = Literal["layers", "globals"]
KINDS: tuple[Kind, ...] = ("layers", "globals")
COLUMNS, ROWS = 8, 6
PER_PAGE = COLUMNS * ROWS
TILE, GAP, NUMBER = 128, 12, 20


def shuffled(subjects: Sequence[Subject], seed: int) -> dict[Kind, list[Subject]]:
    """The subjects in one order for the layers and in another for the global pictures: a tile of one says nothing of the other."""
    rng = np.random.default_rng(seed)
    return {kind: [subjects[n] for n in rng.permutation(len(subjects))] for kind in KINDS}


def tile(kind: Kind, subject: Subject, scene: ScenePictures) -> Image.Image:
    """The subject's own layer on a checkerboard, or its scene's global picture."""
    return on_checks(scene.rgba[subject.layer], TILE) if kind == "layers" else enlarge(scene.global_rgb, TILE)


def pages(tiles: Sequence[Image.Image]) -> list[Image.Image]:
    """Pages of tiles over their numbers, which count from 1 through all pages."""
    drawn = []
    for first in range(0, len(tiles), PER_PAGE):
        part = tiles[first : first + PER_PAGE]
        rows = -(-len(part) // COLUMNS)
        page = Image.new("RGB", (COLUMNS * (TILE + GAP) + GAP, rows * (TILE + NUMBER + GAP) + GAP), PAPER)
        brush, font = ImageDraw.Draw(page), ImageFont.load_default(15)
        for n, picture in enumerate(part):
            left, top = GAP + n % COLUMNS * (TILE + GAP), GAP + n // COLUMNS * (TILE + NUMBER + GAP)
            page.paste(picture, (left, top))
            brush.text((left, top + TILE + 1), str(first + n + 1), fill=INK, font=font)
        drawn.append(page)
    return drawn


def key(order: Mapping[Kind, Sequence[Subject]]) -> dict[str, list[dict[str, Any]]]:
    """What every tile shows, in the tiles' order; for a global picture all its objects, for any of them may be named."""
    return {
        kind: [
            {"tile": n, "object": one.name, "layers": one.scene[0], "seed": one.scene[1], "others": _others(one)}
            for n, one in enumerate(subjects, start=1)
        ]
        for kind, subjects in order.items()
    }


def _others(subject: Subject) -> list[str]:
    return [name for n, name in enumerate(subject.example["names"]) if n not in (0, subject.layer)]
