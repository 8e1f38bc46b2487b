"""Names into prompts, with a little variety of wording, and the whole corpus for a tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from data.world import World

OBJECT_WORDINGS = ("{a} {name}", "one {name}", "a photo of {a} {name}", "the {name}", "{name}")
PLACE_WORDINGS = ("{a} {name}", "{name}", "a photo of {a} {name}", "the {name}")
_PLAIN = 0.4  # share of "{a} {name}", the wording that people type


def article(name: str) -> str:
    """'a' or 'an' by the first letter."""
    return "an" if name[:1].lower() in tuple("aeiou") else "a"


def wordings(name: str, *, place: bool = False) -> tuple[str, ...]:
    """Every prompt for `name`, the plain one first."""
    return tuple(w.format(a=article(name), name=name) for w in (PLACE_WORDINGS if place else OBJECT_WORDINGS))


def caption(name: str, rng: np.random.Generator, *, place: bool = False) -> str:
    """One prompt for `name`, drawn by `rng`."""
    choices = wordings(name, place=place)
    return choices[0] if rng.random() < _PLAIN else choices[rng.integers(1, len(choices))]


def all_captions(world: World) -> tuple[str, ...]:
    """Every prompt that scenes of `world` can have: places first, then objects."""
    places = [text for place in world.places for text in wordings(place.name, place=True)]
    return tuple(places + [text for cutout in world.cutouts for text in wordings(cutout.name)])


def all_words(world: World) -> tuple[str, ...]:
    """Every word of `all_captions`, sorted."""
    return tuple(sorted({word for text in all_captions(world) for word in text.split()}))
