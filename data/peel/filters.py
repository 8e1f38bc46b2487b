"""What is good enough to be trained on. Every figure is stored, every bound is a flag; none is published anywhere: these are proposals."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from data.peel.matte import FINE
from dreamlayer_jax.compositing import composite, from_uint8

if TYPE_CHECKING:
    from data.peel.candidates import Candidate


class Rejected(ValueError):
    """A picture that gives no layers worth training on. Not an error of the program: the reason and its figures are the result."""

    def __init__(self, reason: str, figures: dict[str, Any]) -> None:
        super().__init__(reason)
        self.reason = reason
        self.figures = figures


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilterRules:
    """Bounds of a layer and of the whole."""

    min_area: float = 0.01
    max_area: float = 0.70
    """A layer's share of the picture."""
    min_background: float = 0.15
    """Share of the picture where only the background is seen."""
    max_borders: int = 2
    """Borders of the picture that a layer's box may touch."""
    min_alpha_in_mask: float = 0.80
    """Mean alpha inside the mask."""
    max_soft: float = 0.40
    """Share of a layer's pixels that are neither clear nor solid; things of glass, hair or leaves are free of it."""
    fill_sharpness: tuple[float, float] = (0.3, 3.0)
    """Gradient energy of the fill over that of its surroundings."""
    check_sharpness: bool = True
    """Off for fills that have no detail of their own, such as a membrane."""
    min_outside_db: float = 35.0
    min_inside_db: float = 20.0
    """Eq. 1 of the layers against the picture, outside and inside all holes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerFigures:
    """Of one foreground."""

    prompt: str
    score: float
    quality: float
    area: float
    borders: int
    cut: float
    """Share of the box's side that lies on a border of the picture, the largest of four."""
    alpha_in_mask: float
    soft: float
    matte_believed: bool
    fill_tries: int
    fill_sharpness: float


def check_layer(
    before: np.ndarray,
    after: np.ndarray,
    rgba: np.ndarray,
    candidate: Candidate,
    hole: np.ndarray,
    others: np.ndarray,
    believed: bool,
    tries: int,
    prompt: str,
    rules: FilterRules,
    figures: dict[str, Any],
) -> LayerFigures:
    """The figures of a layer that was taken from `before` and left `after`. Raises `Rejected` at the first bound that it breaks."""
    alpha = rgba[..., 3] / 255
    borders = [alpha[0] > 0.5, alpha[-1] > 0.5, alpha[:, 0] > 0.5, alpha[:, -1] > 0.5]
    solid = alpha > 0.5
    sides = [max(1, int(solid.any(axis=axis).sum())) for axis in (0, 0, 1, 1)]
    one = LayerFigures(
        prompt=prompt,
        score=candidate.score,
        quality=candidate.quality,
        area=float(solid.mean()),
        borders=sum(bool(line.any()) for line in borders),
        cut=max(float(line.sum()) / side for line, side in zip(borders, sides, strict=True)),
        alpha_in_mask=float(alpha[candidate.mask].mean()),
        soft=float(((alpha > 0) & (alpha < 1)).sum() / max(1, (alpha > 0).sum())),
        matte_believed=believed,
        fill_tries=tries,
        fill_sharpness=_sharpness(before, after, hole, others),
    )
    broken = {
        "too small": one.area < rules.min_area,
        "too large": one.area > rules.max_area,
        "touches too many borders": one.borders > rules.max_borders,
        "mask is not solid": one.alpha_in_mask < rules.min_alpha_in_mask,
        "too soft": one.soft > rules.max_soft and not FINE.search(prompt.lower()) and one.area > 4 * rules.min_area,
        "fill is not like its surroundings": rules.check_sharpness
        and not rules.fill_sharpness[0] <= one.fill_sharpness <= rules.fill_sharpness[1],
    }
    for reason, so in broken.items():
        if so:
            raise Rejected(reason, {**figures, "layer": dataclasses.asdict(one)})
    return one


def check_whole(picture: np.ndarray, rgba: np.ndarray, hole: np.ndarray, rules: FilterRules, figures: dict[str, Any]) -> dict[str, Any]:
    """The figures of all layers together. Raises `Rejected` at the first bound that they break."""
    error = (composite(from_uint8(rgba)) - from_uint8(picture)) ** 2
    whole = {
        "background_seen": float((rgba[1:, ..., 3] == 0).all(axis=0).mean()),
        "recomposition_outside_db": _decibel(error[~hole]),
        "recomposition_inside_db": _decibel(error[hole]),
    }
    broken = {
        "background hidden": whole["background_seen"] < rules.min_background,
        "layers do not give the picture back": whole["recomposition_outside_db"] < rules.min_outside_db,
        "layers do not give the picture back inside holes": whole["recomposition_inside_db"] < rules.min_inside_db,
    }
    for reason, so in broken.items():
        if so:
            raise Rejected(reason, {**figures, **whole})
    return whole


def _decibel(squared_error: np.ndarray) -> float:
    """PSNR, at most 100."""
    return float(min(100.0, -10 * np.log10(max(float(squared_error.mean()), 1e-10)))) if squared_error.size else 100.0


def _sharpness(before: np.ndarray, after: np.ndarray, hole: np.ndarray, others: np.ndarray) -> float:
    """Mean gradient energy of `after` inside the hole over that of `before` in a band around it, without other objects."""
    band = ndimage.binary_dilation(hole, iterations=max(3, round(0.05 * min(hole.shape)))) & ~hole & ~others
    energies = []
    for picture, where in ((after, ndimage.binary_erosion(hole, iterations=2)), (before, band)):
        grey = picture.mean(axis=-1)
        dy, dx = np.gradient(grey)
        energies.append(float((dx**2 + dy**2)[where].mean()) if where.any() else 0.0)
    return (energies[0] + 1.0) / (energies[1] + 1.0)
