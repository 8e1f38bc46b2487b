"""A model is measured once for its training and settings, and again when they change."""

from __future__ import annotations

import types
from pathlib import Path

import pytest

from benchmarks.ablation import __main__ as ablation
from benchmarks.ablation.models import Schedule
from dreamlayer_jax.config import pocket
from sample.evaluate.scenes import true_pictures


def test_an_earlier_report_counts_only_for_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def pictures(_model: object, sampling: ablation.Sampling, examples: list) -> list:
        made.append((sampling.steps, len(examples)))
        return [true_pictures(example) for example in examples]

    monkeypatch.setattr(ablation, "generated_pictures", pictures)
    monkeypatch.setattr(ablation, "measure", lambda *_: ([], {"all": {"scenes": 0}}))
    monkeypatch.setattr(ablation, "load_probe", lambda: types.SimpleNamespace(title="nothing"))
    model = types.SimpleNamespace(config=pocket())
    first = ablation.Ablation(workdir=tmp_path, count=3)
    assert ablation.measured(first, "both", model) == ablation.measured(first, "both", model)
    assert made == [(25, 3)]
    for options in (
        ablation.Ablation(workdir=tmp_path, count=2),
        ablation.Ablation(workdir=tmp_path, count=2, steps=5),
        ablation.Ablation(workdir=tmp_path, count=2, steps=5, schedule=Schedule(steps=1)),
    ):
        ablation.measured(options, "both", model)
    assert made[1:] == [(25, 2), (5, 2), (5, 2)]
