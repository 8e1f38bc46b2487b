"""Scenes: layers that are complete and clean, and a global picture that differs from their composite by the light alone.

With c_i and a_i a layer's colour and alpha and s_j the light that object j takes away, a layer is lit by what the objects nearer
than it leave, and the global picture is Eq. 1 (paper §1) of the lit layers:

    global = sum_i  a_i (c_i prod_{j>i} (1 - s_j))  prod_{f>i} (1 - a_f)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import reduce
from typing import Any, Literal

import numpy as np

from data.captions import caption
from data.layout import MAX_OBJECTS, Placement, arrange
from data.light import Light, cast, draw_light
from data.world import World
from dreamlayer_jax.compositing import composite

Split = Literal["train", "held_out"]
Pairs = Literal["train", "held_out"]
_SPLITS = ("train", "held_out")
MAX_LAYERS = 1 + MAX_OBJECTS


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """k layers, far to near, and the picture they make under one sun.

    rgba: (k, h, w, 4) uint8 straight alpha, the background first with alpha 255; global_rgb: (h, w, 3) uint8.
    shadow: (h, w) float32 in [0, 1], the share of light that shadows take from what is seen; where it is 0, Eq. 1 of the layers
    is the global picture.
    prompts, names: k strings. boxes: (k, 4) int32 (y0, x0, y1, x1) of each layer's alpha, ends exclusive.
    """

    rgba: np.ndarray
    global_rgb: np.ndarray
    shadow: np.ndarray
    prompts: tuple[str, ...]
    names: tuple[str, ...]
    boxes: np.ndarray
    seed: int
    taken: np.ndarray
    """(k, h, w) float32 in [0, 1]: the share of light that each layer takes from all that lie behind it."""

    def example(self) -> dict[str, Any]:
        """The schema that datasets store: rgba, global, prompts, names, boxes, seed."""
        return {
            "rgba": self.rgba,
            "global": self.global_rgb,
            "prompts": self.prompts,
            "names": self.names,
            "boxes": self.boxes,
            "seed": self.seed,
        }


def compose(
    world: World,
    seed: int,
    size: int = 64,
    k: int = 3,
    split: Split = "train",
    pairs: Pairs = "train",
    moves: Sequence[float] = (),
) -> Scene:
    """The scene of a seed: the same arguments give the same bytes, and another `size` gives the same scene at that many pixels a side.

    k: layers including the background, 2 to 9. split: "train" and "held_out" never share a scene, whatever the seeds.
    pairs: "train" has no held-out pair of objects; "held_out" (k >= 3, of the held-out split only) has at least one.
    moves: the same scene with its objects, far to near, shifted to the right by so many widths of the picture.
    ValueError for anything else.
    """
    check_arguments(seed, size, k, split, pairs)
    rng = np.random.default_rng([seed, k, _SPLITS.index(split), _SPLITS.index(pairs)])
    place = world.places[rng.integers(len(world.places))]
    cutouts = tuple(world.cutouts[n] for n in _choose(world, rng, k - 1, pairs))
    light = draw_light(rng, place.light)
    placed = arrange(rng, cutouts)
    if moves:
        placed = tuple(dataclasses.replace(one, left=one.left + dx) for one, dx in zip(placed, moves, strict=True))
    names = (place.name, *(cutout.name for cutout in cutouts))
    prompts = tuple(caption(name, rng, place=n == 0) for n, name in enumerate(names))

    rgba = np.zeros((k, size, size, 4), np.uint8)
    rgba[0, ..., :3] = place.paint(size, light, rng)
    rgba[0, ..., 3] = 255
    lit, taken = np.ones((k, size, size, 1), np.float32), np.zeros((k, size, size), np.float32)
    for n, placement in enumerate(placed, start=1):
        rgba[n], taken[n] = _stand(placement, size, light, place.horizon)
        lit[:n] *= 1 - taken[n, ..., None]

    layers_01 = rgba.astype(np.float32) / 255
    color, alpha = layers_01[..., :3], layers_01[..., 3:]
    global_01 = composite(np.concatenate([color * lit, alpha], -1))
    shadow = reduce(lambda far, near: far + near[1] * (near[0] - far), zip(1 - lit, alpha, strict=True), np.zeros_like(lit[0]))[..., 0]
    return Scene(
        rgba=rgba,
        global_rgb=np.clip(np.rint(global_01 * 255), 0, 255).astype(np.uint8),
        shadow=shadow.astype(np.float32),
        prompts=prompts,
        names=names,
        boxes=np.stack([alpha_box(layer[..., 3]) for layer in rgba]),
        seed=seed,
        taken=taken,
    )


def alpha_box(alpha: np.ndarray) -> np.ndarray:
    """(4,) int32 y0, x0, y1, x1 (ends exclusive) of where `alpha` (h, w) uint8 is at least half; zeros where it nowhere is."""
    solid = alpha > 127
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    if rows.size == 0:
        return np.zeros(4, np.int32)
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1], np.int32)


def check_arguments(seed: int, size: int, k: int, split: str, pairs: str) -> None:
    """ValueError for what `compose` cannot make, saying what it can."""
    if not 2 <= k <= MAX_LAYERS:
        raise ValueError(f"k = {k} layers; a scene has a background and 1 to {MAX_LAYERS - 1} objects: give k from 2 to {MAX_LAYERS}")
    if size < 16:
        raise ValueError(f"size = {size} pixels is too small to show an object; give at least 16")
    if seed < 0:
        raise ValueError(f"seed = {seed}; seeds are 0 or more")
    if split not in _SPLITS or pairs not in _SPLITS:
        raise ValueError(f"split = {split!r}, pairs = {pairs!r}; each is one of {_SPLITS}")
    if pairs == "held_out" and (split == "train" or k < 3):
        raise ValueError(f"held-out pairs need split='held_out' and k of at least 3, got split={split!r}, k={k}")


def _choose(world: World, rng: np.random.Generator, count: int, pairs: Pairs) -> list[int]:
    """Distinct cut-outs by index, in random depth order."""
    names = [cutout.name for cutout in world.cutouts]
    if count > len(names):
        raise ValueError(f"a scene of {count} different objects needs as many cut-outs, and this world has {len(names)}: add cut-outs")
    for _ in range(10_000):
        chosen = rng.choice(len(names), count, replace=False)
        found = any(tuple(sorted((names[a], names[b]))) in world.held_out_pairs for n, a in enumerate(chosen) for b in chosen[:n])
        if found == (pairs == "held_out"):
            return list(chosen)
    raise ValueError(f"no set of {count} objects of this world suits pairs={pairs!r}; add cut-outs, or change held_out_share")


def _stand(placement: Placement, size: int, light: Light, horizon: float) -> tuple[np.ndarray, np.ndarray]:
    """One object on an empty canvas, (size, size, 4) uint8, and the light it takes away, (size, size) float32."""
    height = max(1, round(placement.height * size))
    width = max(1, round(placement.width * size))
    left, top = round(placement.left * size), round(placement.foot * size) - height
    picture = placement.cutout.at(height, width, placement.mirrored)
    canvas = np.zeros((size, size, 4), np.uint8)
    x0, x1 = max(0, left), min(size, left + width)
    y0, y1 = max(0, top), min(size, top + height)
    canvas[y0:y1, x0:x1] = np.asarray(picture)[y0 - top : y1 - top, x0 - left : x1 - left]
    canvas[canvas[..., 3] == 0] = 0
    return canvas, cast(picture.getchannel("A"), left, top, size, light, horizon)
