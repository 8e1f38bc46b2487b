"""What is painted over when a layer has been taken out: the hole, and how what was painted is put back."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy import ndimage
from scipy.sparse.linalg import spsolve

SEEN = 0.01
FEATHER = 2.0


def hole_of(alpha: np.ndarray, others: np.ndarray, skirt: float = 0.04) -> np.ndarray:
    """bool (h, w): where the layer was, a rim, and a skirt for its shadow, twice as wide below its middle.

    Args:
        alpha: of the layer taken out, float (h, w).
        others: bool (h, w), the masks of what remains: never painted over, but where the layer itself covered them.
        skirt: of the short side.
    """
    short = min(alpha.shape)
    own = alpha > SEEN
    distance = ndimage.distance_transform_edt(~own)
    rows = np.flatnonzero(own.any(axis=1))
    below = np.arange(alpha.shape[0])[:, None] >= (rows[0] + rows[-1]) / 2
    reach = max(3.0, 0.015 * short) + skirt * short * np.where(below, 2, 1)
    protected = ndimage.binary_dilation(others) & ~own
    return (distance <= reach) & ~protected


def pasted(picture: np.ndarray, painted: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """The picture's own bytes outside the hole, `painted` inside, with a feather of two pixels that lies inside the hole."""
    weight = np.clip(ndimage.distance_transform_edt(hole) / FEATHER, 0, 1)[..., None]
    mixed = np.rint(picture * (1 - weight) + painted.astype(np.float64) * weight).astype(np.uint8)
    return np.where(hole[..., None], mixed, picture)


def smooth_fill(picture: np.ndarray, hole: np.ndarray, prompt: str = "", negative: str = "", seed: int = 0) -> np.ndarray:
    """The membrane over the hole: each channel solves Laplace's equation with the hole's border given. No network, no detail."""
    del prompt, negative, seed
    inside = np.flatnonzero(hole.ravel())
    if inside.size == 0 or inside.size == hole.size:
        return picture.copy()
    h, w = hole.shape
    number = np.full(h * w, -1)
    number[inside] = np.arange(inside.size)
    y, x = np.divmod(inside, w)
    flat = picture.reshape(-1, 3).astype(np.float64)
    diagonal, right = np.zeros(inside.size), np.zeros((inside.size, 3))
    entries: list[tuple[np.ndarray, np.ndarray]] = []
    for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        valid = (y + dy >= 0) & (y + dy < h) & (x + dx >= 0) & (x + dx < w)
        row = np.flatnonzero(valid)
        neighbour = (y[row] + dy) * w + x[row] + dx
        diagonal[row] += 1
        free = number[neighbour] >= 0
        entries.append((row[free], number[neighbour[free]]))
        np.add.at(right, row[~free], flat[neighbour[~free]])
    rows, columns = (np.concatenate(part) for part in zip(*entries, strict=True))
    matrix = sp.diags_array(diagonal) - sp.coo_array((np.ones(len(rows)), (rows, columns)), (inside.size,) * 2)
    flat[inside] = spsolve(matrix.tocsc(), right)
    return np.clip(np.rint(flat), 0, 255).astype(np.uint8).reshape(picture.shape)
