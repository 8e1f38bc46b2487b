"""From a mask to alpha: the trimap, the closed-form matte for whoever has no network, and what is clipped."""

from __future__ import annotations

import re

import numpy as np
import scipy.sparse as sp
from scipy import ndimage
from scipy.sparse.linalg import cg

INSIDE, UNKNOWN, OUTSIDE = 255, 128, 0
FINE = re.compile(
    r"\b(hair|haired|fur|furry|fluffy|feather\w*|glass\w*|transparent|plant|tree|leaves|grass|fern|smoke|veil|lace|cat|dog|bear)s?\b"
)
"""Things whose edges are wide: the unknown band is twice as wide for them."""
CLEAR, SOLID = 0.02, 0.98
AGREES = 0.8
"""Soft IoU of matte and mask under which the mask is believed instead."""


def trimap_of(mask: np.ndarray, prompt: str, others: np.ndarray | None = None) -> np.ndarray:
    """uint8 (h, w): inside, unknown along the mask's border, outside. `others`, bool (h, w), are sure to be other things."""
    radius = max(2.0, 0.02 * float(np.sqrt(mask.sum()))) * (2 if FINE.search(prompt.lower()) else 1)
    inner = ndimage.distance_transform_edt(mask)
    outer = ndimage.distance_transform_edt(~mask)
    trimap = np.full(mask.shape, UNKNOWN, np.uint8)
    inside = inner > min(radius, 0.7 * inner.max())
    trimap[inside] = INSIDE
    trimap[outer > 1.5 * radius] = OUTSIDE
    if others is not None:
        trimap[(ndimage.distance_transform_edt(others) > 2) & ~mask] = OUTSIDE
    return trimap


def settled(alpha: np.ndarray, trimap: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, bool]:
    """Alpha as it is stored, float32 (h, w), and whether the matte was believed.

    Outside the unknown band alpha is 0 or 1; nearly clear and nearly solid are so; specks go. A matte that disagrees with the mask gives
    way to the mask with a soft edge of a pixel.
    """
    alpha = np.where(trimap == UNKNOWN, alpha, trimap == INSIDE).astype(np.float32)
    alpha[alpha < CLEAR] = 0
    alpha[alpha > SOLID] = 1
    believed = soft_iou(alpha, mask.astype(np.float32)) >= AGREES
    if not believed:
        alpha = np.clip(ndimage.uniform_filter(mask.astype(np.float32), 3), 0, 1)
    return np.where(_parts(alpha > 0, share=0.001), alpha, 0), believed


def clean_mask(mask: np.ndarray) -> np.ndarray:
    """The largest connected part and parts of at least 5% of it, without holes of less than 0.1% of it."""
    kept = _parts(mask, share=0.05)
    filled = ndimage.binary_fill_holes(kept) & ~kept
    labels, count = ndimage.label(filled)
    if count:
        sizes = ndimage.sum_labels(filled, labels, range(1, count + 1))
        kept = kept | np.isin(labels, 1 + np.flatnonzero(sizes < 0.001 * kept.sum()))
    return kept


def soft_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Σ min / Σ max of two alphas; 1 where both are empty."""
    largest = float(np.maximum(a, b).sum())
    return float(np.minimum(a, b).sum()) / largest if largest else 1.0


def closed_form(picture: np.ndarray, trimap: np.ndarray, epsilon: float = 1e-7, trust: float = 100.0) -> np.ndarray:
    """Alpha by the matting Laplacian (Levin, Lischinski, Weiss 2008, Eq. 12) of 3×3 windows: colours are lines locally. No network.

    Only the unknown pixels and a margin around them enter the system.
    """
    unknown = trimap == UNKNOWN
    alpha = (trimap == INSIDE).astype(np.float64)
    if not unknown.any():
        return alpha.astype(np.float32)
    rows, columns = np.flatnonzero(unknown.any(1)), np.flatnonzero(unknown.any(0))
    box = np.s_[max(0, rows[0] - 3) : rows[-1] + 4, max(0, columns[0] - 3) : columns[-1] + 4]
    known = (~unknown[box]).ravel()
    laplacian = _laplacian(picture[box].astype(np.float64) / 255, ndimage.binary_dilation(unknown[box], np.ones((3, 3))), epsilon)
    system = laplacian + trust * sp.diags_array(known.astype(np.float64))
    start = alpha[box].ravel() + 0.5 * ~known
    preconditioner = sp.diags_array(1 / system.diagonal())
    solved, _ = cg(system, trust * known * alpha[box].ravel(), x0=start, rtol=1e-6, maxiter=2000, M=preconditioner)
    alpha[box] = np.clip(solved, 0, 1).reshape(alpha[box].shape)
    return alpha.astype(np.float32)


def _laplacian(colour: np.ndarray, where: np.ndarray, epsilon: float) -> sp.csr_array:
    """Sum over the 3×3 windows around each pixel of `where` of δ_ij − (1 + (I_i − μ)ᵀ (Σ + ε/9)⁻¹ (I_j − μ)) / 9."""
    h, w = where.shape
    index = np.arange(h * w).reshape(h, w)
    windows = np.lib.stride_tricks.sliding_window_view(index, (3, 3)).reshape(h - 2, w - 2, 9)[where[1:-1, 1:-1]]
    values = colour.reshape(-1, 3)[windows]
    centred = values - values.mean(axis=1, keepdims=True)
    covariance = centred.transpose(0, 2, 1) @ centred / 9 + epsilon / 9 * np.eye(3)
    weights = np.eye(9) - (1 + centred @ np.linalg.solve(covariance, centred.transpose(0, 2, 1))) / 9
    i = np.repeat(windows, 9, axis=1).ravel()
    j = np.tile(windows, (1, 9)).ravel()
    return sp.coo_array((weights.ravel(), (i, j)), (h * w, h * w)).tocsr()


def _parts(mask: np.ndarray, share: float) -> np.ndarray:
    """The connected parts of at least `share` of the largest."""
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    if count <= 1:
        return mask.copy()
    sizes = ndimage.sum_labels(mask, labels, range(1, count + 1))
    return np.isin(labels, 1 + np.flatnonzero(sizes >= share * sizes.max()))
