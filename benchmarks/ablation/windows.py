"""The sweep of (T_H, T'_H) of the paper's Table 4, on true scenes, where it can be said what harmonisation should have come to.

whole             PSNR of the composite against the true picture, dB
in shadow         … where shadows take over a tenth of the light
elsewhere         … of the background that no shadow falls on and no foreground covers: what is rewritten is lost here
shadow closer     scenes whose composite is nearer to the truth than the blend in true shadows, %
kept              PSNR of the composite against a foreground where it is seen, dB
Fréchet distance  of the composites from the true pictures, features of the probe
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.harmony import SHADOW, Harmony, harmonised, still_scores
from benchmarks.report import figures_of
from data.scenes import Scene
from data.source import SceneSource
from data.world import emoji_world
from dreamlayer_jax.compositing import composite, from_uint8
from dreamlayer_jax.metrics.pictures import psnr
from dreamlayer_jax.pipeline import DreamLayer
from sample.evaluate.intervals import as_figure, bootstrap_frechet
from sample.evaluate.probe import load_probe
from sample.evaluate.scoring import CLEAR

WINDOWS = ((0, 0), (200, 0), (400, 200), (600, 400), (800, 600))
COLUMNS = {
    "whole": "whole, dB",
    "in_shadow": "in shadow, dB",
    "elsewhere": "elsewhere, dB",
    "shadow_closer": "shadow closer, share",
    "kept": "kept, dB",
    "frechet": "Fréchet distance",
}


def sweep(weights: str, count: int, first_seed: int, windows: tuple[tuple[int, int], ...] = WINDOWS) -> dict[str, dict[str, Any]]:
    """{"T_H, T'_H": {column: figure}} over the same held-out scenes; (0, 0) is the blend."""
    model, probe = DreamLayer.from_pretrained(weights), load_probe()
    source = SceneSource(world=emoji_world(), seeds=range(first_seed, first_seed + count), split="held_out", layers=(2, 3, 4))
    scenes = [source.scene(n) for n in range(count)]
    by_k = [[scene for scene in scenes if len(scene.rgba) == k] for k in (2, 3, 4)]
    truth = probe.features(np.stack([from_uint8(scene.global_rgb) for some in by_k for scene in some]))
    table = {}
    for t_h, t_h_end in tqdm(windows, desc="windows"):
        options = Harmony(weights=weights, t_h=t_h, t_h_end=t_h_end)
        made = [picture for some in by_k for picture in composites(model, options, some)]
        scored = [scores(scene, picture) for scene, picture in zip((scene for some in by_k for scene in some), made, strict=True)]
        features = probe.features(np.stack(made))
        distance = bootstrap_frechet(list(features[:, None]), list(truth[:, None]))
        table[f"{t_h}, {t_h_end}"] = figures_of(scored) | ({} if distance is None else {"frechet": as_figure(distance)})
    return table


def composites(model: DreamLayer, options: Harmony, scenes: list[Scene]) -> list[np.ndarray]:
    """Of scenes of one layer count, in [0, 1]; the blends where the window is empty."""
    if options.t_h == 0:
        return [composite(from_uint8(scene.rgba)) for scene in scenes]
    made = []
    for start in range(0, len(scenes), options.batch):
        some = scenes[start : start + options.batch]
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


def markdown(table: dict[str, dict[str, Any]]) -> str:
    """One row a window."""
    rows = [["T_H, T'_H", *COLUMNS.values()], ["---"] * (1 + len(COLUMNS))]
    rows += [[window, *(_cell(figures.get(name)) for name in COLUMNS)] for window, figures in table.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(figure: dict[str, float] | None) -> str:
    return "–" if figure is None else "{mean:.2f} [{low:.2f}, {high:.2f}]".format(**figure)
