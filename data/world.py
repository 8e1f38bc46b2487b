"""A world: the cut-outs and places that scenes are made of, and the pairs of objects that training never sees together."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
from pathlib import Path
from typing import Protocol

import numpy as np

from data.backgrounds import PLACES
from data.cutouts import Cutout, emoji_cutouts
from data.light import Light, LightRange
from data.pictures import picture_cutouts, picture_places
from data.shapes import shape_cutouts


class Place(Protocol):
    """A named background with a ground plane."""

    name: str
    horizon: float
    light: LightRange

    def paint(self, size: int, light: Light, rng: np.random.Generator) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """Cut-outs, places and the share of object pairs held out of training."""

    cutouts: tuple[Cutout, ...]
    places: tuple[Place, ...]
    held_out_share: float = 0.1

    def __post_init__(self) -> None:
        if len(self.cutouts) < 4 or not self.places:
            raise ValueError(
                f"a world needs at least 4 cut-outs and 1 background, found {len(self.cutouts)} and {len(self.places)}: add pictures"
            )
        for kind, names in (("cut-outs", [c.name for c in self.cutouts]), ("backgrounds", [p.name for p in self.places])):
            if len(set(names)) < len(names):
                raise ValueError(f"two {kind} share a name: {sorted(n for n in set(names) if names.count(n) > 1)}; names must differ")

    @functools.cached_property
    def held_out_pairs(self) -> frozenset[tuple[str, str]]:
        """Pairs of object names, each sorted, that occur together in no training scene. By hash of the names alone."""
        pairs = itertools.combinations(sorted(cutout.name for cutout in self.cutouts), 2)
        return frozenset(pair for pair in pairs if _share("|".join(pair)) < self.held_out_share)


def _share(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def emoji_world() -> World:
    """48 objects of Noto Color Emoji in ten painted places."""
    return World(cutouts=emoji_cutouts(), places=PLACES)


def shapes_world() -> World:
    """24 drawn shapes in ten painted places."""
    return World(cutouts=shape_cutouts(), places=PLACES)


def folder_world(objects: Path | str, backgrounds: Path | str | None = None) -> World:
    """A user's RGBA cut-outs in a user's pictures, or in the painted places; `data.pictures` says how the folders look."""
    places = PLACES if backgrounds is None else picture_places(Path(backgrounds))
    return World(cutouts=picture_cutouts(Path(objects)), places=places)
