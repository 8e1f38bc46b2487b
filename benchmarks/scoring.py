"""What a probe says about a scene's layers, in numbers with intervals. Pure functions of pictures and of pixel probabilities.

For each scene, of its k - 1 objects and k layers:

    own layer       the object with most summed pixel probability in the layer, on mid-grey, is the named one
    global          the named object is among the k - 1 with most summed pixel probability in the global picture
    layout IoU      of the layer's alpha over one half, less what nearer layers hide, and the global picture's pixels of the named object
    background      at most 1% of the background's pixels are of any object
    one object      a foreground layer has some object, and any second one has under a tenth of its pixels
    recomposition   PSNR in dB of Eq. 1 of the layers against the global picture
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float

from data.source import Example, SceneSource
from data.world import emoji_world
from dreamlayer_jax.compositing import composite, from_uint8, over_grey
from dreamlayer_jax.metrics.pictures import psnr

FIRST_SEED = 900_000  # of the held-out split, and apart from the seeds that training watches
BACKGROUND_SHARE = 0.01
SECOND_SHARE = 0.1
METRICS = {
    "own_layer": "object correct in its own layer, %",
    "global": "object correct in the global picture, %",
    "layout_iou": "layout agreement, mean alpha IoU",
    "background_free": "background free of objects, %",
    "one_object": "foreground layer free of a second object, %",
    "recomposition": "recomposition PSNR, dB",
}
_PERCENT = ("own_layer", "global", "background_free", "one_object")


class PixelProbe(Protocol):
    """`benchmarks.probe.Probe`, or anything that classifies pixels, "nothing" last."""

    names: tuple[str, ...]

    def probabilities(self, rgb_01: Float[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n h w c"]: ...


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ScenePictures:
    """One scene: layers (k, h, w, 4) straight and the global picture (h, w, 3), both uint8; k names and prompts, background first."""

    rgba: np.ndarray
    global_rgb: np.ndarray
    names: tuple[str, ...]
    prompts: tuple[str, ...]
    seed: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneScores:
    """One scene's values of each metric: one per object, or one for the scene."""

    names: tuple[str, ...]
    prompts: tuple[str, ...]
    seed: int
    values: dict[str, list[float]]


def held_out_scenes(count: int, first_seed: int = FIRST_SEED) -> SceneSource:
    """The fixed evaluation scenes, or those of other seeds: k = 2, 3, 4 in turn."""
    return SceneSource(world=emoji_world(), seeds=range(first_seed, first_seed + count), split="held_out")


def true_pictures(example: Example) -> ScenePictures:
    """A composed scene, as if it had been generated."""
    fields = {name: example[name] for name in ("rgba", "names", "prompts", "seed")}
    return ScenePictures(global_rgb=example["global"], **fields)


def score_scenes(probe: PixelProbe, scenes: Sequence[ScenePictures]) -> list[SceneScores]:
    """Scores of each scene. ValueError for an object that the probe does not know."""
    index = {name: number for number, name in enumerate(probe.names)}
    scored = []
    for scene in scenes:
        unknown = [name for name in scene.names[1:] if name not in index]
        if unknown:
            raise ValueError(f"the probe does not know {', '.join(unknown)}; it knows: {', '.join(probe.names)}")
        on_grey = over_grey(from_uint8(scene.rgba))
        probabilities = probe.probabilities(np.concatenate([on_grey, from_uint8(scene.global_rgb)[None]]))
        values = scene_values(probabilities, scene.rgba, [index[name] for name in scene.names[1:]])
        values["recomposition"] = [psnr(composite(from_uint8(scene.rgba)), from_uint8(scene.global_rgb))]
        scored.append(SceneScores(names=scene.names, prompts=scene.prompts, seed=scene.seed, values=values))
    return scored


def scene_values(probabilities: Float[np.ndarray, "l h w c"], rgba: np.ndarray, classes: Sequence[int]) -> dict[str, list[float]]:
    """The metrics that need the probe.

    Args:
        probabilities: of the background, each foreground on grey, and the global picture; "nothing" is the last class.
        rgba: (k, h, w, 4) uint8.
        classes: the k - 1 named objects.
    """
    objects = probabilities.shape[-1] - 1
    found = probabilities.argmax(-1)
    mass = probabilities[..., :objects].sum((1, 2))
    top = np.argsort(-mass[-1], kind="stable")[: len(classes)]
    pixels = [np.sort(np.bincount(layer[layer < objects], minlength=objects))[::-1] for layer in found[1:-1]]
    visible = visible_parts(rgba[1:, ..., 3] > 127)
    return {
        "own_layer": [float(layer.argmax() == named) for layer, named in zip(mass[1:-1], classes, strict=True)],
        "global": [float(named in top) for named in classes],
        "layout_iou": [iou(part, found[-1] == named) for part, named in zip(visible, classes, strict=True)],
        "background_free": [float((found[0] < objects).mean() <= BACKGROUND_SHARE)],
        "one_object": [float(count[0] > 0 and count[1] < SECOND_SHARE * count[0]) for count in pixels],
    }


def visible_parts(solid: Bool[np.ndarray, "l h w"]) -> Bool[np.ndarray, "l h w"]:
    """Each layer's pixels that no nearer layer covers; layers far to near."""
    parts, covered = [], np.zeros(solid.shape[1:], bool)
    for layer in solid[::-1]:
        parts.append(layer & ~covered)
        covered = covered | layer
    return np.stack(parts[::-1])


def iou(a: Bool[np.ndarray, "h w"], b: Bool[np.ndarray, "h w"]) -> float:
    """Intersection over union; 0 where both are empty, for then nothing was made."""
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 0.0


def bootstrap(values: Sequence[Sequence[float]], draws: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """Mean of all values, and its 95% interval under resampling whole scenes: the objects of one scene are not independent."""
    sums, counts = np.array([sum(scene) for scene in values]), np.array([len(scene) for scene in values])
    drawn = np.random.default_rng(seed).integers(len(values), size=(draws, len(values)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(sums.sum() / counts.sum()), float(low), float(high)


def summarize(scored: Sequence[SceneScores]) -> dict[str, Any]:
    """{"all" | "k=2" | …: {"scenes": n, metric: {"mean", "low", "high"}}}; per cent where the metric is a share."""
    groups = {"all": list(scored)}
    for k in sorted({len(scene.names) for scene in scored}):
        groups[f"k={k}"] = [scene for scene in scored if len(scene.names) == k]
    return {name: {"scenes": len(group), **{metric: _interval(metric, group) for metric in METRICS}} for name, group in groups.items()}


def _interval(metric: str, scored: Sequence[SceneScores]) -> dict[str, float]:
    scale = 100 if metric in _PERCENT else 1
    figures = bootstrap([scene.values[metric] for scene in scored])
    return {name: round(scale * figure, 4) for name, figure in zip(("mean", "low", "high"), figures, strict=True)}


def markdown_table(summary: dict[str, Any]) -> str:
    """The summary as a Markdown table, 95% intervals in brackets."""
    heading = ["", *(f"{group} ({facts['scenes']})" for group, facts in summary.items())]
    rows = [heading, ["---"] * len(heading)]
    for metric, words in METRICS.items():
        digits = 2 if metric == "layout_iou" else 1
        cells = ["{mean:.{d}f} [{low:.{d}f}, {high:.{d}f}]".format(d=digits, **facts[metric]) for facts in summary.values()]
        rows.append([words, *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
