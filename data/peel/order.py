"""Which object is foremost (§3.4 of the paper: by depth), from masks and one map of nearness.

A mean over a mask would mix in what its edges bleed into. So objects that touch are compared where they touch, by medians inside each
mask's inner part, and others by the median of the whole inner part. Differences under a margin are no opinion.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

MARGIN = 0.02
"""Of the picture's 5-95% range of nearness: a smaller difference is no opinion."""
CLEAR_MARGIN = 0.05
"""A circle of objects in front of each other is cut at its least margin, unless that is as clear as this."""
BAND = 0.02
"""Of the short side: masks whose bands of this width meet, touch."""
CORE = 0.01
"""Of the short side: how far a mask is eroded before its nearness is read."""


class MutualOcclusion(ValueError):
    """Objects lie in front of each other in a circle: no order of layers shows them."""


@dataclasses.dataclass(frozen=True)
class InFront:
    """Object `near` is in front of object `far`, by `margin` of the picture's range of nearness."""

    near: int
    far: int
    margin: float


def foremost(masks: Sequence[np.ndarray], nearness: np.ndarray) -> int:
    """The index of the mask, bool (h, w), that no other is in front of.

    Among several, the one that stands lowest, then the smallest, then the first.

    Raises:
        MutualOcclusion: every object has another clearly in front of it.
    """
    edges = relations(masks, nearness)
    for cut in sorted(edges, key=lambda edge: edge.margin):
        if free := set(range(len(masks))) - {edge.far for edge in edges}:
            return min(free, key=lambda i: _standing(masks[i], i))
        if cut.margin >= CLEAR_MARGIN:
            raise MutualOcclusion("objects lie in front of each other in a circle")
        edges = [edge for edge in edges if edge is not cut]
    return min(range(len(masks)), key=lambda i: _standing(masks[i], i))


def relations(masks: Sequence[np.ndarray], nearness: np.ndarray) -> list[InFront]:
    """Every pair on whose order the map has an opinion."""
    low, high = np.percentile(nearness, (5, 95))
    spread = max(float(high - low), 1e-6)
    short = min(nearness.shape)
    cores = [_core(mask, CORE * short) for mask in masks]
    reach = max(1, round(BAND * short))
    bands = [ndimage.binary_dilation(mask, iterations=reach) for mask in masks]
    edges = []
    for a, b in itertools.combinations(range(len(masks)), 2):
        ours, theirs = cores[a] & bands[b], cores[b] & bands[a]
        if not ours.any() or not theirs.any():
            ours, theirs = cores[a], cores[b]
        margin = float(np.median(nearness[ours]) - np.median(nearness[theirs])) / spread
        if abs(margin) >= MARGIN:
            edges.append(InFront(*((a, b) if margin > 0 else (b, a)), abs(margin)))
    return edges


def _core(mask: np.ndarray, radius: float) -> np.ndarray:
    """The mask without its edge; a thin mask whole."""
    inner = ndimage.distance_transform_edt(mask) > radius
    return inner if inner.any() else mask


def _standing(mask: np.ndarray, i: int) -> tuple[int, int, int]:
    return -int(np.flatnonzero(mask.any(axis=1))[-1]), int(mask.sum()), i
