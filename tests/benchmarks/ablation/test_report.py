"""The tables of the ablation, out of reports and sweeps."""

from __future__ import annotations

import numpy as np

from benchmarks.ablation.models import MODELS, Schedule
from benchmarks.ablation.report import PAIRED, markdown
from benchmarks.ablation.windows import WINDOWS, scores
from benchmarks.ablation.windows import markdown as window_table
from data.scenes import compose
from data.world import shapes_world
from dreamlayer_jax.compositing import composite, from_uint8


def report(layout: list[float]) -> dict:
    """Two scenes with one object each."""
    scenes = [{"seed": seed, "values": {key: [0.5] for key in PAIRED} | {"layout_iou": [value]}} for seed, value in enumerate(layout)]
    figure = {"mean": float(np.mean(layout)), "low": min(layout), "high": max(layout)}
    settings = {"count": 2, "sampling": {"steps": 25, "guidance": 2.0, "window": [600, 400]}}
    brightness = {"true": [[0.0], [1.0]], "global": [[0.0], [1.0]], "composite": [[layout[0]], [layout[0] + 1]]}
    summary = {"all": {"scenes": 2, "layout_iou": figure}}
    return {"settings": settings, "summary": summary, "scenes": scenes, "whole_pictures": brightness}


def test_the_report_has_every_model_and_its_gain_scene_by_scene() -> None:
    figure = {"mean": 1.0, "low": 0.5, "high": 1.5}
    swept = {"600, 400": {"whole": figure}}
    reports = {name: report([0.2 + n / 10, 0.4 + n / 10]) for n, name in enumerate(MODELS)}
    text = markdown(Schedule(), reports, swept, "pocket", 3)
    assert "|  | neither | LSSA | CACA | both |" in text
    assert "|  | LSSA over neither | CACA over neither | both over neither | both over LSSA |" in text
    assert "| layout agreement, mean alpha IoU | 0.30 [0.20, 0.40] | 0.40 [0.30, 0.50] |" in text
    gains = " | ".join(f"+0.{n}0 [+0.{n}0, +0.{n}0]" for n in (1, 2, 3, 2))
    assert f"| layout agreement, mean alpha IoU | {gains} |" in text
    # (0.3² - 0.2²), (0.4² - 0.2²), (0.5² - 0.2²), (0.5² - 0.3²): the means' distances, as the spreads are equal in every draw
    gains = " | ".join(f"+{gain} [+{gain}, +{gain}]" for gain in ("0.050", "0.120", "0.210", "0.160"))
    assert f"| Fréchet distance: IRH composite | {gains} |" in text
    assert "| 600, 400 | 1.00 [0.50, 1.50] | – |" in text


def test_a_true_picture_scores_highest_and_its_blend_only_outside_shadows() -> None:
    scene = compose(shapes_world(), seed=3, k=3)
    truth, blend = (scores(scene, made) for made in (from_uint8(scene.global_rgb), composite(from_uint8(scene.rgba))))
    assert truth["whole"][0] > 90
    assert truth["shadow_closer"] == [1.0]
    assert blend["shadow_closer"] == [0.0]
    assert blend["elsewhere"][0] > blend["in_shadow"][0] + 10
    assert len(blend["kept"]) == 2


def test_windows_start_with_the_blend() -> None:
    assert WINDOWS[0][:2] == (0, 0)
    assert window_table({}).startswith("| T_H, T'_H | whole, dB |")
