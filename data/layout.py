"""Where objects stand: on the ground, nearer is lower and larger, none mostly hidden."""

from __future__ import annotations

import dataclasses

import numpy as np

from data.cutouts import Cutout

NEAREST_SIDE = {  # longer side of the nearest object, by number of objects
    1: (0.48, 0.58), 2: (0.43, 0.54), 3: (0.40, 0.48), 4: (0.35, 0.43), 5: (0.28, 0.34), 6: (0.24, 0.28), 7: (0.20, 0.24), 8: (0.175, 0.21),
}  # fmt: skip
MAX_OBJECTS = max(NEAREST_SIDE)
GAP = (0.05, 0.10)  # between the feet of two neighbours in depth
MAX_DEPTH = 0.28  # between the nearest and the farthest: above it there is no ground
MIN_VISIBLE = 0.65
_MAX_CUT = 0.1  # share of an object's width that the border may cut
_CUT_CHANCE = 0.12
_EYE = 0.05  # unit y at which the perspective rule would shrink an object to nothing: well above any painted horizon, for a mild rule
_TRIES = 60  # of up to three objects; more take more


@dataclasses.dataclass(frozen=True)
class Placement:
    """One object in the unit square, y downwards. `foot` is the y of its ground contact, `left` its box's x."""

    cutout: Cutout
    left: float
    foot: float
    height: float
    width: float
    mirrored: bool


def arrange(rng: np.random.Generator, cutouts: tuple[Cutout, ...]) -> tuple[Placement, ...]:
    """Place the objects, far to near. At least `MIN_VISIBLE` of each stays in sight of the viewer, nearer objects and border considered."""
    count = len(cutouts)
    side = rng.uniform(*NEAREST_SIDE[count])
    nearest = rng.uniform(0.88, 0.96)
    gaps = rng.uniform(*GAP, count - 1) * min(1.0, MAX_DEPTH / (GAP[1] * max(1, count - 1)))
    feet = nearest - np.concatenate([[0.0], np.cumsum(gaps)])[::-1]
    tries = _TRIES * max(1, count - 2)
    for attempt in range(tries):
        # The first tries are free; should they all hide something, columns of equal width do not.
        spread = attempt >= tries // 2
        columns = rng.permutation(count)
        placed = []
        for cutout, foot, column in zip(cutouts, feet, columns, strict=True):
            scale = side * (foot - _EYE) / (nearest - _EYE) * rng.uniform(0.94, 1.06)
            height, width = (scale * part for part in cutout.extent)
            cut = _MAX_CUT * width * (rng.random() < _CUT_CHANCE) * rng.random()
            low, high = -cut, 1 - width + cut
            left = low + (high - low) * column / max(1, count - 1) if spread else rng.uniform(low, high)
            placed.append(Placement(cutout, left, foot, height, width, bool(rng.random() < 0.5)))
        if all(visible_share(placed, n) >= MIN_VISIBLE for n in range(count - 1)):
            break
    return tuple(placed)


def visible_share(placed: list[Placement] | tuple[Placement, ...], index: int) -> float:
    """The share of object `index` that nearer objects leave in sight, measured on the cut-outs' coarse masks."""
    me = placed[index]
    grid = me.cutout.coarse[:, ::-1] if me.mirrored else me.cutout.coarse
    side = grid.shape[0]
    rows, columns = np.nonzero(grid)
    x = me.left + (columns + 0.5) / side * me.width
    y = me.foot - me.height + (rows + 0.5) / side * me.height
    seen = (x > 0) & (x < 1)
    for near in placed[index + 1 :]:
        if near.left > me.left + me.width or me.left > near.left + near.width:
            continue
        cover = near.cutout.coarse[:, ::-1] if near.mirrored else near.cutout.coarse
        u = np.floor((x - near.left) / near.width * side).astype(int)
        v = np.floor((y - near.foot + near.height) / near.height * side).astype(int)
        inside = (u >= 0) & (u < side) & (v >= 0) & (v < side)
        seen &= ~(inside & cover[np.clip(v, 0, side - 1), np.clip(u, 0, side - 1)])
    return float(seen.sum()) / max(1, rows.size)
