"""`benchmarks/ablation.md`: the two tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.ablation import windows
from benchmarks.ablation.models import Schedule
from sample.evaluate.intervals import Figure, as_figure, bootstrap, bootstrap_frechet_gain
from sample.evaluate.metrics import METRICS
from sample.evaluate.report import cell, table

SHOWN = (
    "frechet_composite",
    "frechet_global",
    "agreement_foreground",
    "agreement_global",
    "agreement_composite",
    "layout_iou",
    "psnr_blend",
    "psnr_composite",
    "background_free",
    "one_object",
)
PAIRED = ("layout_iou", "agreement_foreground", "agreement_global", "agreement_composite", "psnr_blend")

TEXT = """\
# Ablation

Written by
`python -m benchmarks.ablation --workdir runs/pocket --count {made[count]} --window-count {window_count}`.
95% intervals over scenes (bootstrap; Clopper and Pearson's for shares of none or all); the
metrics are defined in `README.md`, Fréchet distances are of the probe's features.

## The parts (the paper's Table 3)

One base stands in for Stable Diffusion: the {weights} weights without their context maps, trained on for {schedule.base_steps}
steps with both parts off. Each model goes on from it for {schedule.steps} steps of {schedule.images} layer images, everything
learning, on the same batches with the same noise, no layer given.
{made[count]} held-out prompt sets, {sampling[steps]} steps, guidance {sampling[guidance]}, the same starting noise for all;
composites by IRH, (T_H, T'_H) = {window}.

{models}

What a model has over another, on the same prompt sets (of a distance, less is better; its interval is of the difference, the same
scenes drawn for both models):

{gains}

## The window (the paper's Table 4)

The {weights} weights, true layers of {window_count} held-out scenes, 25 steps. "Elsewhere" is background that no shadow falls on and no
foreground covers. (0, 0) is the blend, without harmonisation. Eq. 12 lays in the kept latents, "blend" the latent of
the blend (`HarmonizeConfig`).

{swept}
"""


def markdown(
    schedule: Schedule, reports: dict[str, dict[str, Any]], swept: dict[str, dict[str, Any]], weights: str, window_count: int
) -> str:
    """The whole report."""
    made = next(iter(reports.values()))["settings"]
    return TEXT.format(
        schedule=schedule,
        made=made,
        sampling=made["sampling"],
        window=tuple(made["sampling"]["window"]),
        models=_models(reports),
        gains=_gains(reports),
        weights=weights,
        window_count=window_count,
        swept=windows.markdown(swept),
    )


def _models(reports: dict[str, dict[str, Any]]) -> str:
    rows = [["", *reports], ["---"] * (1 + len(reports))]
    for name in SHOWN:
        rows.append([METRICS[name].title, *(cell(report["summary"]["all"].get(name), METRICS[name].digits) for report in reports.values())])
    for k in ("k=2", "k=3", "k=4"):
        figures = [report["summary"].get(k, {}).get("layout_iou") for report in reports.values()]
        rows.append([f"layout agreement, {k}", *(cell(figure, 2) for figure in figures)])
    return table(rows)


def _gains(reports: dict[str, dict[str, Any]]) -> str:
    """Differences on the same scenes, of each model to the first and of the last to the second; of a Fréchet distance, less is better."""
    first, second, *_, last = names = list(reports)
    pairs = [*((first, name) for name in names[1:]), (second, last)]
    rows = [["", *(f"{name} over {before}" for before, name in pairs)], ["---"] * (1 + len(pairs))]
    for role in ("composite", "global"):
        gains = [_frechet_gain(reports[before], reports[name], role) for before, name in pairs]
        rows.append([METRICS[f"frechet_{role}"].title, *(cell(gain, METRICS[f"frechet_{role}"].digits, "+") for gain in gains)])
    for metric in PAIRED:
        scale = 100 if METRICS[metric].share else 1
        gains = [as_figure(bootstrap(_differences(reports[before], reports[name], metric)), scale) for before, name in pairs]
        rows.append([METRICS[metric].title, *(cell(gain, METRICS[metric].digits, "+") for gain in gains)])
    return table(rows)


def _frechet_gain(first: dict[str, Any], other: dict[str, Any], role: str) -> Figure:
    rows = (first["whole_pictures"][role], other["whole_pictures"][role], first["whole_pictures"]["true"])
    return as_figure(bootstrap_frechet_gain(*(np.asarray(features)[:, None] for features in rows)))


def _differences(first: dict[str, Any], other: dict[str, Any], name: str) -> list[list[float]]:
    before = {scene["seed"]: scene["values"].get(name, []) for scene in first["scenes"]}
    return [[b - a for a, b in zip(before[scene["seed"]], scene["values"].get(name, []), strict=True)] for scene in other["scenes"]]
