"""From scenes' values to figures with 95% intervals, over all scenes and for each k: bootstrap, or exact for shares of none or all."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from dreamlayer_jax.metrics.frechet import frechet_distance
from sample.evaluate.metrics import METRICS

Figure = dict[str, float]
"""{"mean", "low", "high"}: a figure and the ends of its 95% interval."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneScores:
    """One scene's values of each metric: one per object, or one for the scene, or none where the scene has none."""

    names: tuple[str, ...]
    prompts: tuple[str, ...]
    seed: int
    values: dict[str, list[float]]


def bootstrap(values: Sequence[Sequence[float]], draws: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """Mean of all values, and its 95% interval under resampling whole scenes: the objects of one scene are not independent.

    Scenes without a value are left out. ValueError if none has one.
    """
    values = [scene for scene in values if len(scene)]
    if not values:
        raise ValueError("no scene has a value, so there is no mean")
    sums, counts = np.array([sum(scene) for scene in values]), np.array([len(scene) for scene in values])
    drawn = np.random.default_rng(seed).integers(len(values), size=(draws, len(values)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(sums.sum() / counts.sum()), float(low), float(high)


def share_interval(values: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """As `bootstrap`, of values in [0, 1]; where all of them are 0, or all are 1, the 95% interval of Clopper and Pearson.

    No resampling of scenes without a failure finds one, and yet the next scene may fail: none in n scenes is a share of at most
    1 - 0.025^(1/n). Scenes are counted, not their objects, which are not independent.
    """
    mean, low, high = bootstrap(values)
    if low == high == mean and mean in (0, 1):
        likely = 0.025 ** (1 / sum(len(scene) > 0 for scene in values))
        return (mean, likely, 1.0) if mean == 1 else (mean, 0.0, 1 - likely)
    return mean, low, high


def bootstrap_frechet(
    made: Sequence[Float[np.ndarray, "n d"]], true: Sequence[Float[np.ndarray, "m d"]], draws: int = 100, seed: int = 0
) -> tuple[float, float, float] | None:
    """Fréchet distance of made from true pictures, given as each scene's features, and its 95% interval; None for too few pictures.

    A draw takes the same scenes on both sides. Fréchet distances are biased up by few pictures, and a draw has fewer distinct ones, so
    the interval is the draws' spread about their own mean, laid around the distance. The distance's own bias stays: compare only
    distances of equally many pictures.
    """
    if min(sum(len(scene) for scene in side) for side in (made, true)) < 2:
        return None
    middle, low, high = _around(lambda scenes: _distance(made, true, scenes), len(made), draws, seed)
    return max(middle, 0.0), max(low, 0.0), high


def bootstrap_frechet_gain(
    first: Sequence[Float[np.ndarray, "n d"]],
    other: Sequence[Float[np.ndarray, "n d"]],
    true: Sequence[Float[np.ndarray, "m d"]],
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """How much larger `other`'s Fréchet distance from `true` is than `first`'s, with its 95% interval, as in `bootstrap_frechet`.

    A draw takes the same scenes on all sides, so what makes a set of scenes hard for both models cancels. Needs two pictures a side.
    """
    return _around(lambda scenes: _distance(other, true, scenes) - _distance(first, true, scenes), len(true), draws, seed)


def _distance(made: Sequence[np.ndarray], true: Sequence[np.ndarray], scenes: Sequence[int] | np.ndarray) -> float:
    return frechet_distance(*(np.concatenate([side[n] for n in scenes]) for side in (made, true)))


def _around(statistic: Callable[[Sequence[int] | np.ndarray], float], scenes: int, draws: int, seed: int) -> tuple[float, float, float]:
    """The statistic of all scenes, and its draws' 95% spread about their own mean, laid around it."""
    drawn = np.random.default_rng(seed).integers(scenes, size=(draws, scenes))
    found = np.array([statistic(some) for some in drawn])
    middle = statistic(range(scenes))
    low, high = np.percentile(found, [2.5, 97.5]) - found.mean() + middle
    return float(middle), float(low), float(high)


def groups_of(ks: Sequence[int]) -> dict[str, list[int]]:
    """{"all" | "k=2" | …: numbers of scenes} from each scene's layer count."""
    return {"all": list(range(len(ks))), **{f"k={k}": [n for n, other in enumerate(ks) if other == k] for k in sorted(set(ks))}}


def summarize(scored: Sequence[SceneScores]) -> dict[str, Any]:
    """{"all" | "k=2" | …: {"scenes": n, metric: Figure}}; per cent where the metric is a share; without metrics that no scene has."""
    summary: dict[str, Any] = {}
    for group, numbers in groups_of([len(scene.names) for scene in scored]).items():
        summary[group] = {"scenes": len(numbers)}
        for name, metric in METRICS.items():
            values = [scored[n].values.get(name, []) for n in numbers]
            if any(values):
                summary[group][name] = as_figure(share_interval(values), 100) if metric.share else as_figure(bootstrap(values))
    return summary


def as_figure(figures: tuple[float, float, float], scale: float = 1) -> Figure:
    """Rounded to what a report can use."""
    return {name: round(scale * figure, 4) for name, figure in zip(("mean", "low", "high"), figures, strict=True)}
