"""The sweep of (T_H, T'_H) of the paper's Table 4, on true scenes, where it can be said what harmonisation should have come to.

whole             PSNR of the composite against the true picture, dB
in shadow         … where shadows take over a tenth of the light
elsewhere         … of the background that no shadow falls on and no foreground covers: what is rewritten is lost here
shadow energy     how much darker than the blend the composite is there, as a share of how much darker the truth is
shadow closer     scenes whose composite is nearer to the truth than the blend in true shadows, %
kept              PSNR of the composite against a foreground where it is seen, dB
Fréchet distance  of the composites from the true pictures, features of the probe
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from benchmarks.harmony import SHADOW, Harmony, harmonised, still_scores
from benchmarks.report import figures_of
from data.scenes import Scene
from dreamlayer_jax.compositing import composite, from_uint8
from dreamlayer_jax.config import Fuse
from dreamlayer_jax.metrics.pictures import psnr
from dreamlayer_jax.pipeline import DreamLayer
from sample.evaluate.intervals import as_figure, bootstrap_frechet
from sample.evaluate.probe import load_probe
from sample.evaluate.report import cell, table
from sample.evaluate.scenes import held_out_scenes
from sample.evaluate.scoring import CLEAR

WINDOWS: tuple[tuple[int, int, Fuse], ...] = (
    (0, 0, "kept"),
    (200, 0, "kept"),
    (400, 200, "kept"),
    (600, 400, "kept"),
    (800, 600, "kept"),
    (600, 400, "blend"),
    (600, 0, "blend"),
)
"""T_H, T'_H, and what is laid in: the paper's five, then those of `HarmonizeConfig.fuse` "blend"."""

COLUMNS = {
    "whole": "whole, dB",
    "in_shadow": "in shadow, dB",
    "elsewhere": "elsewhere, dB",
    "shadow_energy": "shadow energy, share",
    "shadow_closer": "shadow closer, share",
    "kept": "kept, dB",
    "frechet": "Fréchet distance",
}


def sweep(weights: str, count: int) -> dict[str, dict[str, Any]]:
    """{"T_H, T'_H": {column: figure}} over the same held-out scenes, with ", blend" where that is laid in; (0, 0) changes nothing."""
    model, probe, source = DreamLayer.from_pretrained(weights), load_probe(), held_out_scenes(count)
    scenes = sorted((source.scene(n) for n in range(count)), key=lambda scene: len(scene.rgba))
    truth = probe.features(np.stack([from_uint8(scene.global_rgb) for scene in scenes]))
    swept = {}
    for t_h, t_h_end, fuse in tqdm(WINDOWS, desc="windows"):
        made = composites(model, Harmony(weights=weights, t_h=t_h, t_h_end=t_h_end, fuse=fuse), scenes)
        figures = figures_of(scores(scene, picture) for scene, picture in zip(scenes, made, strict=True))
        distance = bootstrap_frechet(list(probe.features(np.stack(made))[:, None]), list(truth[:, None]))
        swept[f"{t_h}, {t_h_end}" + (", blend" if fuse == "blend" else "")] = figures | (
            {} if distance is None else {"frechet": as_figure(distance)}
        )
    return swept


def composites(model: DreamLayer, options: Harmony, scenes: list[Scene]) -> list[np.ndarray]:
    """Of scenes in the order of their layer counts, in [0, 1]; the blends where the window is empty."""
    if options.t_h == 0:
        return [composite(from_uint8(scene.rgba)) for scene in scenes]
    made: list[np.ndarray] = []
    for _, equal in itertools.groupby(scenes, key=lambda scene: len(scene.rgba)):
        of_k = list(equal)
        for start in range(0, len(of_k), options.batch):
            some = of_k[start : start + options.batch]
            made += list(harmonised(model, options, some, np.stack([scene.rgba for scene in some])))
    return made


def scores(scene: Scene, made: np.ndarray) -> dict[str, list[float]]:
    """One scene's values of all columns but the distance."""
    truth, shadow = from_uint8(scene.global_rgb), scene.shadow > SHADOW
    clear = (from_uint8(scene.rgba[1:, ..., 3]) < CLEAR).all(0) & (scene.shadow < SHADOW / 10)
    values = {"whole": [psnr(made, truth)], **still_scores(scene, made)}
    for name, region in (("in_shadow", shadow), ("elsewhere", clear)):
        found = psnr(made, truth, region[..., None])
        values[name] = [found] if np.isfinite(found) else []
    return values


def markdown(swept: dict[str, dict[str, Any]]) -> str:
    """One row a window."""
    rows = [["T_H, T'_H", *COLUMNS.values()], ["---"] * (1 + len(COLUMNS))]
    return table(rows + [[window, *(cell(figures.get(name), 2) for name in COLUMNS)] for window, figures in swept.items()])
