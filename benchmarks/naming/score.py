"""A judge's answers against the key.

`answers.json`: {"judge": who, and how, "layers": {"1": "a dog", …}, "globals": {"1": ["a dog", "a car"], …}}. An object is named where
one of the answers is its name or a word of `ACCEPTED`, which stood before any sheet was judged. "" or "unsure" is no answer.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.naming.sheet import KINDS

ACCEPTED: Mapping[str, tuple[str, ...]] = {
    "dog": ("puppy",), "cat": ("kitten", "cat face"), "panda": ("panda bear",), "turtle": ("tortoise",), "duck": ("mallard",),
    "fish": ("tropical fish",), "teddy bear": ("teddy", "bear"), "car": ("red car",), "rocket": ("spaceship", "rocket ship"),
    "sailboat": ("boat", "sailing boat", "yacht"), "house": ("home",), "vase": ("amphora", "urn", "jar"), "guitar": ("electric guitar",),
    "alarm clock": ("clock",), "gift": ("present", "gift box"), "backpack": ("rucksack", "bag"), "boot": ("hiking boot", "shoe"),
    "top hat": ("hat",), "bucket": ("pail",), "football": ("soccer ball",), "red apple": ("apple",), "watermelon": ("melon",),
    "pizza": ("slice of pizza", "pizza slice"), "burger": ("hamburger",), "cupcake": ("muffin",), "mushroom": ("toadstool",),
    "pine tree": ("tree", "fir", "christmas tree"), "pumpkin": ("jack-o'-lantern",),
}  # fmt: skip


def is_named(name: str, answers: Sequence[str]) -> bool:
    """Whether any of the answers is the object's name, without article and capitals, or a word accepted for it."""
    accepted = {name, *ACCEPTED.get(name, ())}
    return any(re.sub(r"^(an?|the|one) ", "", answer.strip().lower()) in accepted for answer in answers)


def score(key: Mapping[str, Sequence[Mapping[str, Any]]], answers: Mapping[str, Any]) -> dict[str, Any]:
    """For layers and global pictures: tiles, tiles named, the same by layer count, and the objects missed, with how often.

    ValueError where a tile has no answer, or an answer no tile.
    """
    found: dict[str, Any] = {}
    for kind in KINDS:
        tiles, given = key[kind], answers[kind]
        differing = sorted({str(tile["tile"]) for tile in tiles} ^ set(given), key=int)
        if differing:
            raise ValueError(f'the answers on {kind} do not fit the sheet at {", ".join(differing)}; give each tile one, if only "unsure"')
        words = {number: [answer] if isinstance(answer, str) else answer for number, answer in given.items()}
        right = [(tile, is_named(tile["object"], words[str(tile["tile"])])) for tile in tiles]
        by_layers: dict[int, list[bool]] = {}
        for tile, named in right:
            by_layers.setdefault(tile["layers"], []).append(named)
        found[kind] = {
            "tiles": len(tiles),
            "named": sum(named for _, named in right),
            "by layer count": {str(k): f"{sum(each)} of {len(each)}" for k, each in sorted(by_layers.items())},
            "missed": dict(sorted(Counter(tile["object"] for tile, named in right if not named).items())),
        }
    return found
