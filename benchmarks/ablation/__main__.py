"""The paper's Tables 3 and 4 on scenes with exact truth: what CACA, LSSA and the harmonisation window are worth.

    python -m benchmarks.ablation --workdir runs/pocket

Renders scenes and trains what is not there yet (`models.py`), measures the models that are not measured yet, sweeps the window, and writes
the report. Stopped, the same command goes on from there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.ablation.models import MODELS, Schedule, folder_of, train_models
from benchmarks.ablation.report import markdown
from benchmarks.ablation.windows import sweep
from dreamlayer_jax.files import new_file
from dreamlayer_jax.pipeline import DreamLayer
from dreamlayer_jax.request import Sampling
from sample.evaluate.distances import role_features
from sample.evaluate.measure import measure
from sample.evaluate.pictures import Making, generated_pictures
from sample.evaluate.probe import FOLDER, load_probe
from sample.evaluate.report import LISTING, write_report
from sample.evaluate.scenes import held_out_scenes, true_pictures
from train.configs.pocket import PocketTraining
from train.loop import LoopConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ablation:
    """Trains and measures the four models of Table 3, and sweeps the window of Table 4 on a whole model."""

    workdir: Path
    """Of `python -m train --config pocket`, whose scenes are taken, or a new one; the models go to `ablation/<model>-<digest>/` in it."""
    schedule: Schedule = Schedule()
    count: int = 200
    """Held-out prompt sets for each model."""
    steps: int = 25
    batch: int = 16
    window_count: int = 96
    """Held-out scenes for each window."""
    weights: str = "pocket"
    """The model that all four go on from, and whose window is swept."""
    out: Path = Path("benchmarks/ablation.md")


def measured(options: Ablation, folder: Path, model: DreamLayer) -> dict[str, Any]:
    """The evaluation's report on one model, in `folder`; an earlier one with the same training, settings and probe is not made again."""
    sampling = Sampling(sampler="ddim", steps=options.steps).of(model.config)
    making = Making(sampling=sampling, seed=0, batch=options.batch, window=model.config.harmonize.window)
    settings = {
        "count": options.count,
        "weights": options.weights,
        "probe": hashlib.sha256((FOLDER / "probe.safetensors").read_bytes()).hexdigest(),
        **dataclasses.asdict(options.schedule),
        "making": dataclasses.asdict(making),
    }
    kept = folder / LISTING
    if kept.is_file() and (report := json.loads(kept.read_text()))["settings"] == json.loads(json.dumps(settings)):
        return report
    source, probe = held_out_scenes(options.count), load_probe()
    examples = {example["seed"]: example for example in (source[n] for n in range(len(source)))}
    scenes = generated_pictures(model, making, list(examples.values()))
    truth = [true_pictures(examples[scene.seed]) for scene in scenes]
    scored, summary = measure(scenes, truth, probe, probe)
    made, true = role_features(probe, scenes), role_features(probe, truth)
    rows = {"true": true["global"], "global": made["global"], "composite": made["composite"]}
    report = {
        "measured": folder.parent.name,
        "settings": settings,
        "features": probe.title,
        "summary": summary,
        "scenes": [dataclasses.asdict(scene) for scene in scored],
        "whole_pictures": {role: np.concatenate(of_scenes).tolist() for role, of_scenes in rows.items()},
    }
    write_report(report, scenes, folder, overwrite=True)
    return json.loads(kept.read_text())


def main(options: Ablation) -> None:
    """Writes the report, atomically."""
    trained = DreamLayer.from_pretrained(options.weights)
    models = train_models(options.schedule, PocketTraining(), trained, options.workdir, LoopConfig(checkpoint_every=100))
    folder = options.workdir / folder_of(trained)
    reports = {name: measured(options, folder / name / "report", models[name]) for name in MODELS}
    windows = sweep(options.weights, options.window_count)
    with new_file(options.out, overwrite=True) as temporary:
        temporary.write_text(markdown(options.schedule, reports, windows, options.weights, options.window_count), encoding="utf-8")
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main(tyro.cli(Ablation))
