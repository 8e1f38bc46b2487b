"""A small resolution-free painter: gradients, discs, ridges and boxes with analytic edges, in unit coordinates.

Everything is placed in [0, 1] with y downwards, so one picture can be painted at any size. Edges are one pixel wide at the size
painted, which makes supersampling unnecessary.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

Color = tuple[float, float, float]  # sRGB, 0-255


class Canvas:
    """A square picture being painted. `rgb` is (size, size, 3) float32 in 0-255; `x` is (1, size) and `y` (size, 1), pixel centres."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.size = size
        self.rng = rng
        centres = (np.arange(size, dtype=np.float32) + 0.5) / size
        self.x, self.y = centres[None, :], centres[:, None]
        self.rgb = np.zeros((size, size, 3), np.float32)

    def fill(self, coverage: np.ndarray, color: Color | np.ndarray, opacity: float = 1.0) -> None:
        """Blend `color` over the picture; `coverage` in [0, 1] broadcasts to (size, size), `color` to (size, size, 3)."""
        weight = coverage[..., None] * np.float32(opacity)
        self.rgb += weight * (np.asarray(color, np.float32) - self.rgb)

    def edge(self, signed_distance: np.ndarray, soft: float = 0.0) -> np.ndarray:
        """Coverage of the region where `signed_distance` < 0 (unit lengths), `soft` wide beyond the pixel's own width."""
        steepness = np.float32(1 / (1 / self.size + soft))
        return np.minimum(np.maximum(0.5 - signed_distance * steepness, 0), 1)

    def gradient(self, y0: float, y1: float, top: Color, bottom: Color) -> np.ndarray:
        """(size, 1, 3) colours running from `top` at y0 to `bottom` at y1, held beyond."""
        part = np.clip((self.y - y0) / (y1 - y0), 0, 1)[..., None]
        return np.asarray(top, np.float32) * (1 - part) + np.asarray(bottom, np.float32) * part

    def sky(self, horizon: float, top: Color, bottom: Color) -> None:
        self.rgb[:] = self.gradient(0.0, horizon, top, bottom)

    def ground(self, horizon: float, far: Color, near: Color, mottle: float = 0.05, grid: tuple[int, int] = (5, 4)) -> None:
        """Everything below `horizon`, from `far` to `near`, with a gentle large-scale brightness texture."""
        colors = self.gradient(horizon, 1.0, far, near) * (1 + mottle * self.smooth_noise(*grid))[..., None]
        self.fill(self.edge(horizon - self.y), colors)

    def smooth_noise(self, rows: int, columns: int) -> np.ndarray:
        """(size, size) cubic noise with about `rows` x `columns` bumps, mostly within [-1, 1]."""
        bumps = Image.fromarray(self.rng.uniform(-1, 1, (rows, columns)).astype(np.float32))
        return np.asarray(bumps.resize((self.size, self.size), Image.Resampling.BICUBIC))

    def ellipse(self, cx: float, cy: float, rx: float, ry: float, color: Color, soft: float = 0.0, opacity: float = 1.0) -> None:
        reach = 1 + 0.5 * (1 / self.size + soft) / min(rx, ry)
        rows, columns = self._span(cy, ry * reach), self._span(cx, rx * reach)
        radius = np.sqrt(((self.x[:, columns] - cx) / rx) ** 2 + ((self.y[rows] - cy) / ry) ** 2)
        weight = self.edge((radius - 1) * min(rx, ry), soft)[..., None] * np.float32(opacity)
        self.rgb[rows, columns] += weight * (np.asarray(color, np.float32) - self.rgb[rows, columns])

    def _span(self, centre: float, reach: float) -> slice:
        """The pixels within `reach` of `centre` along one axis: small things are painted in their own window only."""
        return slice(max(0, int((centre - reach) * self.size)), max(0, int((centre + reach) * self.size) + 2))

    def box(self, x0: float, y0: float, x1: float, y1: float, color: Color, opacity: float = 1.0) -> None:
        across = self.edge(np.maximum(x0 - self.x, self.x - x1))
        down = self.edge(np.maximum(y0 - self.y, self.y - y1))
        self.fill(across * down, color, opacity)

    def below(self, ridge: np.ndarray, color: Color | np.ndarray, soft: float = 0.0) -> None:
        """Everything below the curve y = `ridge` (1, size)."""
        self.fill(self.edge(ridge - self.y, soft), color)

    def triangle(self, cx: float, top: float, bottom: float, half_width: float, color: Color | np.ndarray) -> None:
        """An upright isosceles triangle."""
        slope = half_width / (bottom - top)
        sides = (np.abs(self.x - cx) - (self.y - top) * slope) / np.float32(np.sqrt(1 + slope**2))
        self.fill(self.edge(np.maximum(sides, self.y - bottom)), color)

    def hills(self, level: float, height: float, waves: float) -> np.ndarray:
        """A (1, size) rolling ridge around y = `level`."""
        phase = self.rng.uniform(0, 2 * np.pi, 2)
        low = np.sin(2 * np.pi * waves * self.x + phase[0])
        high = np.sin(2 * np.pi * waves * 2.3 * self.x + phase[1])
        return (level - height * (0.7 * low + 0.3 * high)).astype(np.float32)

    def cloud(self, cx: float, cy: float, width: float, color: Color = (255, 255, 255), opacity: float = 0.95) -> None:
        for dx, dy, r in ((-0.3, 0.05, 0.20), (0.0, -0.04, 0.28), (0.3, 0.05, 0.2)):
            self.ellipse(cx + dx * width, cy + dy * width, r * width, r * width * 0.62, color, soft=0.02, opacity=opacity)

    def finished(self) -> np.ndarray:
        """(size, size, 3) uint8."""
        return np.clip(np.rint(self.rgb), 0, 255).astype(np.uint8)
