"""Ten painted places with a ground plane. Each painter takes a `Canvas` and the scene's `Light`, and jitters itself by the canvas's rng.

The pictures are smooth on purpose: a few large, recognisable features that survive 64 pixels and a small autoencoder.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from data.light import Light, LightRange
from data.paint import Canvas

OUTDOORS = LightRange(strength=(0.42, 0.58), blur=(0.008, 0.016), in_view=0.35)
NIGHT = LightRange(strength=(0.38, 0.50), blur=(0.014, 0.024), in_view=0.35)
INDOORS = LightRange(strength=(0.30, 0.42), blur=(0.018, 0.030), in_view=0.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PaintedPlace:
    """A named procedural background. `horizon` is the highest y (unit, downwards) that a shadow on the ground may reach."""

    name: str
    horizon: float
    light: LightRange
    painter: Callable[[Canvas, Light], None]

    def paint(self, size: int, light: Light, rng: np.random.Generator) -> np.ndarray:
        """The place as (size, size, 3) uint8."""
        canvas = Canvas(size, rng)
        self.painter(canvas, light)
        canvas.rgb *= rng.uniform(0.95, 1.04, 3).astype(np.float32)
        return canvas.finished()


def _sun(c: Canvas, light: Light, y: float, color: tuple[float, float, float], radius: float = 0.075) -> None:
    if light.in_view:
        x = 0.5 - light.side * c.rng.uniform(0.22, 0.36)
        c.ellipse(x, y, radius * 1.7, radius * 1.7, color, soft=0.1, opacity=0.35)
        c.ellipse(x, y, radius, radius, color)


def _clouds(c: Canvas, y: tuple[float, float], color: tuple[float, float, float] = (255, 255, 255)) -> None:
    first = c.rng.uniform(0.1, 0.4)
    for x in (first, first + c.rng.uniform(0.4, 0.5)):
        c.cloud(x, c.rng.uniform(*y), c.rng.uniform(0.24, 0.34), color)


def beach(c: Canvas, light: Light) -> None:
    c.sky(0.42, (70, 170, 235), (190, 230, 250))
    _sun(c, light, 0.14, (255, 240, 150))
    _clouds(c, (0.10, 0.26))
    c.fill(c.edge(0.40 - c.y), c.gradient(0.40, 0.56, (25, 110, 175), (70, 190, 200)))
    shore = c.hills(0.565, 0.012, 1.2)
    c.below(shore - 0.022, (240, 250, 250), soft=0.01)
    c.below(shore, c.gradient(0.56, 0.68, (205, 175, 120), (240, 215, 155)), soft=0.01)
    c.fill(c.edge(0.64 - c.y, 0.1), c.gradient(0.6, 1.0, (240, 215, 155), (228, 195, 130)) * (1 + 0.04 * c.smooth_noise(5, 3))[..., None])


def meadow(c: Canvas, light: Light) -> None:
    c.sky(0.5, (95, 170, 245), (205, 232, 250))
    _sun(c, light, 0.15, (255, 245, 160))
    _clouds(c, (0.12, 0.28))
    c.below(c.hills(0.45, 0.05, 0.9), (110, 170, 110))
    c.below(c.hills(0.50, 0.03, 0.7), (95, 175, 75))
    c.ground(0.55, (110, 195, 75), (60, 150, 45), mottle=0.06)
    for _ in range(9):
        x, y = c.rng.uniform(0, 1), c.rng.uniform(0.58, 0.97)
        c.ellipse(x, y, 0.016 * y, 0.013 * y, (255, 235, 90) if c.rng.random() < 0.5 else (250, 250, 250))


def snow(c: Canvas, light: Light) -> None:
    c.sky(0.5, (150, 185, 220), (225, 235, 245))
    _sun(c, light, 0.14, (255, 250, 225))
    c.below(c.hills(0.44, 0.045, 1.1), (190, 208, 228))
    for x in np.linspace(0.02, 0.98, 7) + c.rng.uniform(-0.05, 0.05, 7):
        if c.rng.random() < 0.75:
            top = c.rng.uniform(0.24, 0.36)
            c.triangle(x, top, 0.53, 0.075, (55, 95, 95))
            c.triangle(x, top, top + 0.08, 0.034, (240, 246, 250))
    c.below(c.hills(0.525, 0.015, 0.8), c.gradient(0.5, 1.0, (225, 234, 246), (246, 249, 253)))
    c.fill(c.edge(0.55 - c.y, 0.1), c.gradient(0.5, 1.0, (226, 236, 248), (245, 248, 252)) * (1 + 0.02 * c.smooth_noise(4, 3))[..., None])


def night(c: Canvas, light: Light) -> None:
    c.sky(0.5, (12, 14, 52), (44, 50, 110))
    for _ in range(12):
        c.ellipse(c.rng.uniform(0, 1), c.rng.uniform(0.02, 0.38), 0.013, 0.013, (250, 245, 205))
    if light.in_view:
        x = 0.5 - light.side * c.rng.uniform(0.22, 0.36)
        c.ellipse(x, 0.15, 0.13, 0.13, (150, 150, 190), soft=0.1, opacity=0.3)
        c.ellipse(x, 0.15, 0.08, 0.08, (248, 244, 210))
        c.ellipse(x + 0.035, 0.135, 0.065, 0.065, (26, 29, 76))
    c.below(c.hills(0.46, 0.05, 1.0), (22, 26, 62))
    c.ground(0.52, (44, 62, 98), (58, 84, 108), mottle=0.07)


def desert(c: Canvas, light: Light) -> None:
    c.sky(0.5, (240, 150, 80), (253, 222, 150))
    _sun(c, light, 0.20, (255, 248, 200), 0.085)
    x = c.rng.uniform(0.15, 0.8)
    for cx, w, top in ((x, 0.13, 0.33), (x + c.rng.choice([-0.3, 0.3]), 0.08, 0.38)):
        sides = np.maximum(np.abs(c.x - cx) - w * (0.7 + 0.8 * (c.y - top)), top - c.y)
        c.fill(c.edge(sides), (180, 92, 62))
    c.below(c.hills(0.50, 0.04, 0.8), (225, 150, 85))
    c.below(c.hills(0.56, 0.03, 0.6), c.gradient(0.5, 1.0, (236, 168, 96), (214, 138, 70)))
    c.fill(c.edge(0.62 - c.y, 0.12), c.gradient(0.6, 1.0, (228, 156, 86), (205, 128, 64)) * (1 + 0.05 * c.smooth_noise(7, 2))[..., None])


def room(c: Canvas, light: Light) -> None:
    c.rgb[:] = c.gradient(0.0, 0.55, (222, 196, 158), (205, 174, 132))
    x = c.rng.uniform(0.14, 0.58)
    c.box(x - 0.025, 0.065, x + 0.325, 0.395, (120, 76, 42))
    glass = np.maximum(np.abs(c.x - x - 0.15) - 0.15, np.abs(c.y - 0.23) - 0.14)
    c.fill(c.edge(glass), c.gradient(0.09, 0.37, (130, 195, 245), (215, 238, 252)))
    c.box(x + 0.137, 0.09, x + 0.163, 0.37, (120, 76, 42))
    c.box(x, 0.217, x + 0.3, 0.243, (120, 76, 42))
    c.box(0, 0.515, 1, 0.56, (130, 84, 48))
    c.ground(0.555, (160, 102, 56), (190, 126, 72), mottle=0.03)
    fan = (c.x - 0.5) / (c.y - 0.2) * 4.5  # planks run to a vanishing point above the skirting board
    seam = np.abs(fan - np.rint(fan)) * (c.y - 0.2) / 4.5
    c.fill(c.edge(seam - 0.006) * c.edge(0.56 - c.y), (118, 72, 38), 0.7)


def street(c: Canvas, light: Light) -> None:
    c.sky(0.5, (120, 170, 215), (215, 226, 236))
    _sun(c, light, 0.10, (255, 246, 190), 0.06)
    palette = [(172, 88, 72), (200, 168, 124), (118, 128, 146), (150, 110, 96), (96, 112, 136)]
    x = -c.rng.uniform(0.0, 0.12)
    for color in c.rng.permutation(palette):
        width, top = c.rng.uniform(0.20, 0.27), c.rng.uniform(0.10, 0.30)
        c.box(x, top, x + width, 0.56, color)
        u, v = (c.x - x) / width * 2, (c.y - top) / 0.13
        inside = (c.x > x) & (c.x < x + width) & (c.y > top) & (c.y < 0.55)
        pane = np.maximum(np.abs(u - np.floor(u) - 0.5) - 0.26, np.abs(v - np.floor(v) - 0.55) - 0.24) * 0.11
        c.fill(c.edge(pane) * inside, (250, 232, 165) if c.rng.random() < 0.5 else (205, 228, 242), 0.75)
        x += width
    c.box(0, 0.555, 1, 0.66, (186, 182, 176))
    c.box(0, 0.645, 1, 0.67, (140, 138, 136))
    c.fill(c.edge(0.665 - c.y), c.gradient(0.66, 1.0, (92, 94, 102), (108, 110, 116)) * (1 + 0.03 * c.smooth_noise(3, 3))[..., None])
    start = c.rng.uniform(0, 0.3)
    for n in range(-1, 4):
        c.box(start + n * 0.32, 0.845, start + n * 0.32 + 0.17, 0.87, (240, 232, 200))


def forest(c: Canvas, light: Light) -> None:
    c.sky(0.55, (250, 214, 140), (252, 236, 190))
    _sun(c, light, 0.16, (255, 252, 225))
    crowns = [(214, 92, 34), (232, 140, 40), (190, 60, 36), (238, 176, 60)]
    c.below(c.hills(0.34, 0.05, 1.5), (222, 150, 84), soft=0.03)
    for x in np.linspace(0.04, 0.96, 6) + c.rng.uniform(-0.05, 0.05, 6):
        color, y = crowns[c.rng.integers(4)], c.rng.uniform(0.17, 0.28)
        c.box(x - 0.018, y, x + 0.018, 0.57, (92, 58, 38))
        c.ellipse(x, y, 0.12, 0.135, color, soft=0.015)
        c.ellipse(x - 0.03, y - 0.04, 0.06, 0.06, tuple(min(255, v * 1.12) for v in color), soft=0.04)
    c.ground(0.55, (176, 104, 48), (198, 122, 52), mottle=0.10, grid=(6, 5))
    for _ in range(8):
        x, y = c.rng.uniform(0, 1), c.rng.uniform(0.6, 0.97)
        c.ellipse(x, y, 0.024 * y, 0.013 * y, crowns[c.rng.integers(4)])


def lake(c: Canvas, light: Light) -> None:
    c.sky(0.45, (110, 165, 220), (222, 234, 244))
    _sun(c, light, 0.10, (255, 248, 200), 0.06)
    centres = np.array([0.12, 0.5, 0.88]) + c.rng.uniform(-0.09, 0.09, 3)
    for x, top in zip(centres, c.rng.uniform(0.12, 0.24, 3), strict=True):
        half = (0.44 - top) * 1.15
        c.triangle(x, top, 0.44, half, (102, 116, 148))
        c.triangle(x, top, top + 0.085, 0.085 * 1.15, (246, 248, 252))
    c.box(-0.1, 0.415, 1.1, 0.445, (52, 96, 74))
    c.fill(c.edge(0.44 - c.y), c.gradient(0.44, 0.62, (120, 168, 206), (58, 122, 172)))
    shore = c.hills(0.615, 0.012, 1.0)
    c.below(shore - 0.012, (176, 190, 190), soft=0.01)
    c.below(shore, c.gradient(0.6, 1.0, (134, 142, 118), (112, 134, 84)) * (1 + 0.06 * c.smooth_noise(5, 4))[..., None], soft=0.01)


def stage(c: Canvas, light: Light) -> None:
    folds = np.sin(2 * np.pi * (c.x * 6 + c.rng.uniform()))
    c.rgb[:] = np.array([168, 24, 36], np.float32) * (1 + 0.22 * folds)[..., None] * (1 - 0.25 * c.y)[..., None]
    c.box(0, 0, 1, 0.10, (120, 12, 26))
    scallops = 0.10 + 0.045 * np.abs(np.sin(np.pi * c.x * 4))
    c.fill(c.edge(c.y - scallops), (132, 14, 28))
    c.fill(c.edge(np.abs(c.y - scallops) - 0.010), (236, 190, 74))
    c.ground(0.58, (98, 62, 44), (146, 98, 66), mottle=0.03)
    c.ellipse(0.5 - 0.1 * light.side, 0.82, 0.46, 0.15, (232, 192, 138), soft=0.16, opacity=0.75)


PLACES = (
    PaintedPlace(name="sandy beach", horizon=0.60, light=OUTDOORS, painter=beach),
    PaintedPlace(name="green meadow", horizon=0.54, light=OUTDOORS, painter=meadow),
    PaintedPlace(name="snowy field", horizon=0.54, light=OUTDOORS, painter=snow),
    PaintedPlace(name="starry night", horizon=0.52, light=NIGHT, painter=night),
    PaintedPlace(name="desert", horizon=0.56, light=OUTDOORS, painter=desert),
    PaintedPlace(name="wooden room", horizon=0.56, light=INDOORS, painter=room),
    PaintedPlace(name="city street", horizon=0.57, light=OUTDOORS, painter=street),
    PaintedPlace(name="autumn forest", horizon=0.56, light=OUTDOORS, painter=forest),
    PaintedPlace(name="mountain lake", horizon=0.62, light=OUTDOORS, painter=lake),
    PaintedPlace(name="theatre stage", horizon=0.59, light=INDOORS, painter=stage),
)
