"""Compositing, Eq. 1 of the paper, and the two ways of writing a picture with alpha.

    I^{k+1} = sum_{i=1..k} I_alpha^i * I_c^i * prod_{f=i+1..k} (1 - I_alpha^f)          far to near

Every function takes NumPy or JAX arrays (traced ones too) and gives back the same kind: only the array API is used, so the
data programs can call this file without loading JAX. Values are floats in [0, 1], channels last, alpha is channel 3.
"Straight" colour is the colour of the material; "premultiplied" colour is straight colour times alpha.
"""

from __future__ import annotations

from functools import reduce
from typing import TypeVar

Array = TypeVar("Array")

MID_GREY = 0.5
DARK_SQUARE = (214 / 255, 214 / 255, 218 / 255)


def premultiply(rgba_straight_01: Array) -> Array:
    """Straight to premultiplied: (..., 4) -> (..., 4), colour times alpha."""
    _require_rgba(rgba_straight_01)
    rgb, alpha = rgba_straight_01[..., :3], rgba_straight_01[..., 3:]
    return _join(rgb * alpha, alpha)


def unpremultiply(rgba_premultiplied_01: Array) -> Array:
    """Premultiplied to straight: (..., 4) -> (..., 4). Where alpha is 0 the colour is unknown and comes back as stored (0)."""
    _require_rgba(rgba_premultiplied_01)
    rgb, alpha = rgba_premultiplied_01[..., :3], rgba_premultiplied_01[..., 3:]
    return _join(rgb / (alpha + (alpha == 0)), alpha)


def over(far: Array, near: Array) -> Array:
    """`near` laid over `far`, both premultiplied (..., 4). Associative, so any grouping of a stack of layers agrees."""
    return near + far * (1 - near[..., 3:])


def composite(rgba_straight_01: Array) -> Array:
    """Eq. 1: straight layers stacked far to near (l, ..., 4) -> the picture (..., 3), in [0, 1].

    An opaque first layer (the background) gives an opaque picture; a translucent one is seen against black.
    """
    premultiplied = premultiply(rgba_straight_01)
    if premultiplied.shape[0] == 0:
        raise ValueError("composite got no layers; give at least the background, shape (l, h, w, 4) with l >= 1")
    return reduce(over, (premultiplied[i] for i in range(premultiplied.shape[0])))[..., :3]


def visibility(alpha_01: Array) -> Array:
    """How much of each layer is seen, I_alpha^i prod_{f>i} (1 - I_alpha^f), of alphas stacked far to near (l, ...) -> (l, ...)."""
    seen, open_ = [], 1 - 0 * alpha_01[-1]
    for i in range(alpha_01.shape[0] - 1, -1, -1):
        seen.append(alpha_01[i] * open_)
        open_ = open_ * (1 - alpha_01[i])
    return alpha_01.__array_namespace__().stack(seen[::-1])


def mean_over_cells(alpha: Array, height: int, width: int) -> Array:
    """Alpha (..., H, W) on a coarser grid (..., height, width), whose sides divide its own: the mean over each cell's pixels."""
    *some, rows, columns = alpha.shape
    if rows % height or columns % width:
        raise ValueError(f"a picture of {rows}x{columns} pixels cannot be cut into {height}x{width} equal cells")
    xp = alpha.__array_namespace__()
    return xp.mean(xp.reshape(alpha, (*some, height, rows // height, width, columns // width)), axis=(-3, -1))


def over_grey(rgba_straight_01: Array) -> Array:
    """A straight layer pasted on solid mid-grey, (..., 4) -> (..., 3): how a foreground enters the autoencoder (paper §3)."""
    _require_rgba(rgba_straight_01)
    rgb, alpha = rgba_straight_01[..., :3], rgba_straight_01[..., 3:]
    return rgb * alpha + MID_GREY * (1 - alpha)


def over_checks(rgba_premultiplied_01: Array) -> Array:
    """A premultiplied layer (h, w, 4) laid on squares, a sixteenth of the longer side each, which show where it is clear: (h, w, 3)."""
    xp = rgba_premultiplied_01.__array_namespace__()
    _require_rgba(rgba_premultiplied_01)
    height, width = rgba_premultiplied_01.shape[:2]
    square = max(1, max(height, width) // 16)
    dark = (xp.arange(height)[:, None] // square + xp.arange(width)[None] // square) % 2 == 1
    checks = xp.where(dark[..., None], xp.asarray(DARK_SQUARE), xp.asarray(1.0))
    return rgba_premultiplied_01[..., :3] + checks * (1 - rgba_premultiplied_01[..., 3:])


def from_uint8(image_uint8: Array) -> Array:
    """Bytes to floats in [0, 1]: 255 -> 1."""
    xp = image_uint8.__array_namespace__()
    return image_uint8.astype(xp.float32) / 255


def to_uint8(image_01: Array) -> Array:
    """Floats to bytes: clipped to [0, 1], 1 -> 255, rounded to nearest."""
    xp = image_01.__array_namespace__()
    return xp.round(xp.clip(image_01, 0, 1) * 255).astype(xp.uint8)


def _join(rgb: Array, alpha: Array) -> Array:
    return rgb.__array_namespace__().concat([rgb, alpha], axis=-1)


def _require_rgba(image) -> None:
    if image.shape[-1] != 4:
        raise ValueError(f"expected RGBA with 4 channels last, got shape {tuple(image.shape)}")
