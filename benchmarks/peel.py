"""What taking pictures apart loses, on composed scenes whose layers are known: `python -m benchmarks.peel`.

Three settings: true stages without shadows, true stages with shadows, and no network at all (closed-form matte, membrane; boxes, masks and
depth are true). Drawn shapes, held-out seeds from 0 on, k = 2 to 4, 128 pixels a side.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tyro
from tqdm.auto import tqdm

from data.peel.filters import FilterRules, Rejected
from data.peel.oracle import Oracle
from data.peel.peel import Peeled, PeelSettings, peel
from data.scenes import Scene, compose
from data.world import shapes_world
from dreamlayer_jax.compositing import composite, from_uint8, visibility

OPEN = FilterRules(check_sharpness=False, min_inside_db=0, min_outside_db=0, max_soft=1, min_area=0, max_borders=4)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How many scenes."""

    count: int = 200
    size: int = 128


def figures(scene: Scene, peeled: Peeled) -> dict[str, list[float]]:
    """Alpha's soft IoU; mean absolute colour errors where a layer is seen and solid, at soft edges, and of the background; Eq. 1's PSNR."""
    true, ours = from_uint8(scene.rgba), from_uint8(peeled.rgba)
    seen = visibility(true[..., 3])
    found: dict[str, list[float]] = {"IoU": [], "visible": [], "soft": []}
    for layer in range(1, len(true)):
        a, b = true[layer, ..., 3], ours[layer, ..., 3]
        error = np.abs(true[layer, ..., :3] - ours[layer, ..., :3]).mean(axis=-1)
        soft = (a > 0.02) & (a < 0.98) & (seen[layer] > 0.9 * a)
        found["IoU"].append(float(np.minimum(a, b).sum() / np.maximum(a, b).sum()))
        found["visible"].append(float(error[seen[layer] > 0.999].mean()))
        found["soft"].extend([float(error[soft].mean())] if soft.any() else [])
    found["background"] = [float(np.abs(true[0] - ours[0]).mean())]
    found["recomposition"] = [float(-10 * np.log10(((composite(ours) - from_uint8(peeled.picture)) ** 2).mean() + 1e-10))]
    found["order right"] = [float(peeled.prompts == scene.prompts)]
    return found


def measure(options: Options, *, light: bool, networks: bool) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """The figures of all scenes, and how many were rejected for which reason."""
    world, settings = shapes_world(), PeelSettings(filters=OPEN)
    all_figures: dict[str, list[float]] = {}
    rejected: dict[str, int] = {}
    for seed in tqdm(range(options.count)):
        scene = compose(world, seed, size=options.size, k=2 + seed % 3, split="held_out")
        oracle = Oracle(scene.rgba, scene.prompts, scene.taken if light else None)
        try:
            peeled = peel(oracle.picture(), oracle.wanted, oracle.stages(networks=networks), settings, seed)
        except Rejected as refused:
            rejected[refused.reason] = rejected.get(refused.reason, 0) + 1
            continue
        if len(peeled.rgba) == len(scene.rgba):
            for name, values in figures(scene, peeled).items():
                all_figures.setdefault(name, []).extend(values)
        else:
            rejected["an object is missing"] = rejected.get("an object is missing", 0) + 1
    return {name: np.array(values) for name, values in all_figures.items()}, rejected


def main(options: Options) -> None:
    """Prints a row a setting."""
    names = ("order right", "IoU", "visible", "soft", "background", "recomposition")
    print("| setting | scenes | rejected |", " | ".join([*names, "worst IoU", "worst recomposition"]), "|")
    for setting, light, networks in (("true, no shadows", False, True), ("true, shadows", True, True), ("no network", False, False)):
        found, rejected = measure(options, light=light, networks=networks)
        means = [f"{found[name].mean():.4f}" for name in names]
        print(f"| {setting} | {options.count} | {rejected or 0} |", " | ".join(means), end=" | ")
        print(f"{found['IoU'].min():.4f} | {found['recomposition'].min():.1f} |", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Options))
