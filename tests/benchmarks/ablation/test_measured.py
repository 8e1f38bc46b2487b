"""A model is measured once for its training and settings, and again when they change."""

from __future__ import annotations

import dataclasses
import types
from pathlib import Path

import pytest

from benchmarks.ablation import __main__ as ablation
from benchmarks.ablation.models import Schedule
from dreamlayer_jax.config import pocket
from sample.evaluate.scenes import true_pictures


def test_an_earlier_report_counts_only_for_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def pictures(_model: object, making: ablation.Making, examples: list) -> list:
        made.append((making.sampling.steps, len(examples)))
        true = [true_pictures(example) for example in examples]
        return [dataclasses.replace(scene, composite_rgb=scene.global_rgb) for scene in reversed(true)]

    monkeypatch.setattr(ablation, "generated_pictures", pictures)
    monkeypatch.setattr(ablation, "measure", lambda *_: ([], {"all": {"scenes": 0}}))
    probe = types.SimpleNamespace(title="brightness", features=lambda rgb_01: rgb_01.mean((1, 2)))
    monkeypatch.setattr(ablation, "load_probe", lambda: probe)
    model, folder = types.SimpleNamespace(config=pocket()), tmp_path / "both" / "report"
    first = ablation.Ablation(workdir=tmp_path, count=3)
    report = ablation.measured(first, folder, model)
    assert report == ablation.measured(first, folder, model)
    assert report["measured"] == "both"
    rows = report["whole_pictures"]
    assert rows["composite"] == rows["global"] == rows["true"]  # scene by scene, in the order of the made ones
    assert len({tuple(row) for row in rows["true"]}) == 3
    assert made == [(25, 3)]
    for options in (
        ablation.Ablation(workdir=tmp_path, count=2),
        ablation.Ablation(workdir=tmp_path, count=2, steps=5),
        ablation.Ablation(workdir=tmp_path, count=2, steps=5, schedule=Schedule(steps=1)),
    ):
        ablation.measured(options, folder, model)
    assert made[1:] == [(25, 2), (5, 2), (5, 2)]
