"""One sun per scene, and the shadows that it throws.

A cut-out is a card standing on the ground. A point of it at height v above its contact line throws its shadow at
(x + v * shear, y - v * back) in the picture: sideways by the sun's azimuth, away from the viewer (back > 0) when the sun stands behind
the viewer and towards the viewer (back < 0) when it stands in the sky in view. Under the object lies a soft dark ellipse of contact.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from PIL import Image, ImageFilter


@dataclasses.dataclass(frozen=True, kw_only=True)
class LightRange:
    """What light a place allows: shadow `strength` (light removed, 0-1), `blur` (unit lengths), chance that the sun is `in_view`."""

    strength: tuple[float, float]
    blur: tuple[float, float]
    in_view: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Light:
    """The scene's sun. `side` is the side to which shadows fall, -1 left or +1 right."""

    side: int
    shear: float
    back: float
    strength: float
    blur: float
    in_view: bool


def draw_light(rng: np.random.Generator, allowed: LightRange) -> Light:
    """A sun within what the place allows."""
    side = int(rng.choice((-1, 1)))
    in_view = bool(rng.random() < allowed.in_view)
    return Light(
        side=side,
        shear=side * rng.uniform(0.35, 0.95),
        back=-rng.uniform(0.06, 0.16) if in_view else rng.uniform(0.12, 0.38),
        strength=rng.uniform(*allowed.strength),
        blur=rng.uniform(*allowed.blur),
        in_view=in_view,
    )


def cast(alpha: Image.Image, left: int, top: int, size: int, light: Light, horizon: float) -> np.ndarray:
    """The light that one object takes away, (size, size) float32 in [0, strength]; exactly 0 outside its shadow.

    alpha: the object's "L" alpha, cropped, standing with its upper left corner at pixel (left, top) of a square picture.
    horizon: the unit y above which no shadow reaches; a tall object's shadow is flattened to stay below it.
    """
    height = alpha.height
    foot = top + height
    back = min(light.back, max(0.02, (foot - horizon * size) / height))
    # Inverse of the throw, from picture to alpha pixels: v = (foot - y) / back, x' = x - v * shear.
    shear = light.shear / back
    matrix = (1, shear, -left - foot * shear, 0, 1 / back, height - foot / back)
    thrown = alpha.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    thrown = np.asarray(thrown.filter(ImageFilter.GaussianBlur(light.blur * size)), np.float32) / 255
    return light.strength * np.maximum(thrown, contact(np.asarray(alpha), left, foot, size))


def contact(alpha: np.ndarray, left: int, foot: int, size: int) -> np.ndarray:
    """The soft ellipse under an object, (size, size) float32 in [0, 1]: as wide as the object's lowest eighth, 0 beyond its rim."""
    height = alpha.shape[0]
    touching = np.flatnonzero(alpha[height - max(1, height // 8) :].max(0) > 127)
    if touching.size == 0:
        touching = np.flatnonzero(alpha.max(0) > 0)
    x0, x1 = left + touching[0], left + touching[-1] + 1
    rx = 0.55 * (x1 - x0) + 0.03 * size
    ry = 0.15 * (x1 - x0) + 0.018 * size
    centres = np.arange(size, dtype=np.float32) + 0.5
    r2 = ((centres[None, :] - (x0 + x1) / 2) / rx) ** 2 + ((centres[:, None] - foot + 0.008 * size) / ry) ** 2
    return np.clip(1 - r2, 0, 1)
