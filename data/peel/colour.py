"""A layer's own colour at its soft edges, where the picture shows a mixture.

    I = α F + (1 − α) B        estimated together for F and B, from coarse to fine (Germer, Uelwer, Conrad, Harmeling 2020)

The paper's sweeps take neighbours as they come; these are Jacobi's, so that they are arrays and give the same bytes everywhere, and more.
"""

from __future__ import annotations

import numpy as np

SMALL, SMALL_SWEEPS, SWEEPS = 32, 20, 8
REGULAR, GRADIENT = 1e-5, 1.0


def unmixed(picture: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Straight RGBA, uint8 (h, w, 4), of the layer whose alpha, float (h, w), was cut from a picture, uint8 (h, w, 3).

    Where alpha is 1 the picture's own bytes stay; where it is 0 all is 0.
    """
    rgb = picture.copy()
    if (alpha > 0).any():
        rows, columns = np.flatnonzero((alpha > 0).any(axis=1)), np.flatnonzero((alpha > 0).any(axis=0))
        around = max(8, max(rows[-1] - rows[0], columns[-1] - columns[0]) // 8)
        box = np.s_[max(0, rows[0] - around) : rows[-1] + 1 + around, max(0, columns[0] - around) : columns[-1] + 1 + around]
        foreground = foreground_colour(picture[box].astype(np.float32) / 255, alpha[box].astype(np.float32))
        rgb[box] = np.rint(foreground * 255).astype(np.uint8)
    stored = np.rint(alpha * 255).astype(np.uint8)
    rgb = np.where(stored[..., None] == 255, picture, rgb)
    return np.where(stored[..., None] > 0, np.concatenate([rgb, stored[..., None]], axis=-1), 0).astype(np.uint8)


def foreground_colour(picture_01: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """F of I = α F + (1 − α) B, float32 (h, w, 3)."""
    h, w = alpha.shape
    levels = max(1, int(np.ceil(np.log2(max(h, w)))))
    far = near = np.full((1, 1, 3), picture_01.mean(axis=(0, 1)), np.float32)
    for level in range(levels + 1):
        height, width = (max(1, round(side ** (level / levels))) for side in (h, w))
        pixels, opacity = _nearest(picture_01, height, width), _nearest(alpha, height, width)
        near, far = _nearest(near, height, width), _nearest(far, height, width)
        for _ in range(SMALL_SWEEPS if max(height, width) <= SMALL else SWEEPS):
            near, far = _sweep(pixels, opacity, near, far)
    return near


def _sweep(pixels: np.ndarray, alpha: np.ndarray, near: np.ndarray, far: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One Jacobi step of the normal equations: a system of 2×2 a pixel, the neighbours held."""
    padded_alpha = np.pad(alpha, 1, mode="edge")
    padded_near, padded_far = (np.pad(colour, ((1, 1), (1, 1), (0, 0)), mode="edge") for colour in (near, far))
    weights = np.zeros_like(alpha)
    sum_near, sum_far = np.zeros_like(near), np.zeros_like(far)
    for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):
        window = np.s_[dy : dy + alpha.shape[0], dx : dx + alpha.shape[1]]
        weight = REGULAR + GRADIENT * np.abs(alpha - padded_alpha[window])
        weights += weight
        sum_near += weight[..., None] * padded_near[window]
        sum_far += weight[..., None] * padded_far[window]
    a, b = alpha[..., None], 1 - alpha[..., None]
    a11, a12, a22 = a * a + weights[..., None], a * b, b * b + weights[..., None]
    b1, b2 = a * pixels + sum_near, b * pixels + sum_far
    determinant = a11 * a22 - a12 * a12
    return np.clip((a22 * b1 - a12 * b2) / determinant, 0, 1), np.clip((a11 * b2 - a12 * b1) / determinant, 0, 1)


def _nearest(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """The pixel at the middle of every cell."""
    rows = (2 * np.arange(height) + 1) * pixels.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * pixels.shape[1] // (2 * width)
    return pixels[rows[:, None], columns[None]]
