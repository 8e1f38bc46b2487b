"""`python -m sample evaluate` from end to end, on a tiny model and on true scenes, and what it refuses."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dreamlayer_jax import DreamLayer
from dreamlayer_jax.request import Sampling
from sample.evaluate.metrics import METRICS
from sample.evaluate.pictures import Making, generated_pictures
from sample.evaluate.report import FILES
from sample.evaluate.scenes import FIRST_SEED, held_out_scenes


@pytest.fixture
def evaluate(sample, evaluated_folder: Path) -> Callable:
    """`sample evaluate` of two prompt sets, of 2 and 3 layers, where the arguments say nothing else."""

    def run(*arguments: object, weights: Path = evaluated_folder):
        defaults = {"--count": 2, "--steps": 2, "--batch": 1, "--weights": weights}
        return sample("evaluate", *(part for pair in defaults.items() if pair[0] not in arguments for part in pair), *arguments)

    return run


def test_a_model_is_measured_and_the_folder_written(evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe is a stub that sees nothing but mean colours: without XLA's optimisations the real one takes a second a picture."""

    def read(classes: int, _params: object, rgb_01: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.full((*rgb_01.shape[:3], classes), 1 / classes), rgb_01.mean((1, 2))

    monkeypatch.setattr("sample.evaluate.probe._read", read)
    done = evaluate("--out", tmp_path / "report", "--seed", 5)
    assert done.status == 0, done.err
    assert f"look at {tmp_path / 'report' / 'sheet.png'} first" in done.out
    assert "2/2" in done.err
    assert {path.name for path in (tmp_path / "report").iterdir()} == set(FILES)
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["settings"] == {"count": 2, "sampler": "ddim", "steps": 2, "guidance": 1.5, "seed": 5, "batch": 1, "window": [600, 400]}
    assert [(scene["seed"], len(scene["names"])) for scene in report["scenes"]] == [(FIRST_SEED, 2), (FIRST_SEED + 1, 3)]
    everything = {name for name in METRICS if not name.startswith("clip_")}
    sometimes = {"psnr_blend_in_shadow", "psnr_composite_in_shadow", "stray_alpha"}
    assert everything - sometimes <= set(report["summary"]["all"]) <= everything | {"scenes"}
    assert "frechet_foreground" in report["summary"]["k=3"]
    assert "frechet_global" not in report["summary"]["k=3"]  # a single picture
    assert all(np.isfinite(list(figure.values())).all() for name, figure in report["summary"]["all"].items() if name != "scenes")
    assert (tmp_path / "report" / "report.md").read_text().startswith("# Evaluation of ")
    with Image.open(tmp_path / "report" / "sheet.png") as sheet:
        assert sheet.width > 6 * 160


def drawn(k: int, grey: int, *, harmonized: bool) -> SimpleNamespace:
    """A scene all in one grey, its composite a little lighter."""
    picture = np.full((64, 64, 3), grey, np.uint8)
    layers = [SimpleNamespace(rgba_straight=np.full((64, 64, 4), grey, np.uint8))] * k
    return SimpleNamespace(layers=layers, global_rgb=picture, composite_rgb=picture + 1 if harmonized else None)


@pytest.mark.parametrize("window", [(600, 400), None])
def test_batches_of_one_layer_count_are_filled_up_and_scenes_get_their_own_pictures(
    evaluated_folder: Path, monkeypatch: pytest.MonkeyPatch, window: tuple[int, int] | None
) -> None:
    """The network is a stub that draws every scene in a grey of its own."""
    source, sizes = held_out_scenes(7), []
    examples = [source[n] for n in range(7)]
    greys = {example["prompts"]: 10 * n for n, example in enumerate(examples)}
    source_seeds = {example["prompts"]: example["seed"] for example in examples}

    def draw(_model: DreamLayer, prompts: list[tuple[str, ...]], **options: Any) -> list[SimpleNamespace]:
        sizes.append((len(prompts[0]), len(prompts)))
        assert options["steps"] == 2
        assert options["harmonize"] == (window or False)
        assert options["seeds"] == [source_seeds[each] + 5 for each in prompts]
        return [drawn(len(each), greys[each], harmonized=window is not None) for each in prompts]

    monkeypatch.setattr(DreamLayer, "generate_batch", draw)
    making = Making(sampling=Sampling(steps=2, guidance=1.5), seed=5, batch=2, window=window)
    made = generated_pictures(DreamLayer.from_pretrained(evaluated_folder), making, examples)
    assert sizes == [(2, 2), (2, 2), (3, 2), (4, 2)]
    assert [scene.seed - FIRST_SEED for scene in made] == [0, 3, 6, 1, 4, 2, 5]
    for scene in made:
        grey = greys[scene.prompts]
        assert (scene.rgba == grey).all()
        assert (scene.global_rgb == grey).all()
        assert scene.composite_rgb is None if window is None else (scene.composite_rgb == grey + 1).all()


def test_true_scenes_name_every_object_and_are_at_no_distance_from_themselves(tmp_path: Path) -> None:
    """In a process of its own, with XLA's optimisations, for the probe."""
    done = subprocess.run(
        [sys.executable, "-m", "sample", "evaluate", "--truth", "--count", "6", "--out", str(tmp_path / "truth")],
        cwd=Path(__file__).resolve().parents[3],
        env={**os.environ, "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "truth" / "report.json").read_text())
    figures = report["summary"]["all"]
    assert report["settings"] == {"count": 6}
    assert figures["agreement_foreground"]["mean"] == figures["background_free"]["mean"] == 100
    assert figures["layout_iou"]["mean"] > 0.7
    assert figures["frechet_global"]["mean"] == pytest.approx(0, abs=1e-3)
    assert figures["frechet_blend"]["mean"] > figures["frechet_global"]["mean"]  # it has no shadows
    assert figures["psnr_blend_in_shadow"]["mean"] + 5 < figures["psnr_blend_outside"]["mean"]
    assert figures["stray_alpha"]["mean"] < 1
    assert not any("composite" in name for name in figures)
    assert "Table 6" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--count", 0), "count is 0; give at least 1"),
        (("--batch", 0), "batch is 0; give at least 1"),
        (("--steps", 0), "steps is 0; give at least 1"),
        (("--steps", 1001), "the sampler ddim takes 1 to 1000 with this model"),
        (("--seed", -1), "seed is -1; give a whole number"),
        (("--guidance", -1), "guidance is -1.0; give a number of at least 0"),
        (("--t-h", 300, "--t-h-end", 400), "the harmonisation window is T_H 300, T'_H 400"),
        (("--t-h", 0, "--t-h-end", 0, "--steps", 10), "T_H is 0, but the last of 10 steps is at timestep 1: give that at least"),
        (("--clip", "nowhere"), "there is no CLIP model in nowhere"),
        (("--probe", "nowhere"), "there is no probe at nowhere/probe.json"),
    ],
)
def test_what_cannot_be_measured(evaluate, tmp_path: Path, arguments: tuple, message: str) -> None:
    done = evaluate(*arguments, "--out", tmp_path / "out")
    assert done.status == 1
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert message in done.err
    assert list(tmp_path.iterdir()) == []


def test_models_of_another_size_are_refused(evaluate, tiny_folder: Path, tmp_path: Path) -> None:
    done = evaluate("--out", tmp_path / "out", weights=tiny_folder)
    assert done.status == 1
    assert "the model makes 16-pixel pictures; the probe reads 64: give a model of 64 pixels" in done.err


def test_a_folder_that_holds_something_is_left_alone(evaluate, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for arguments, message in (((), "is not empty"), (("--overwrite",), "holds more than an earlier report (notes.txt)")):
        done = evaluate("--out", tmp_path, *arguments)
        assert (done.status, message in done.err) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_without_scikit_image_the_extra_is_named(evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "skimage" else found(name, *rest))
    done = evaluate("--out", tmp_path / "out")
    assert done.status == 1
    assert "SSIM needs scikit-image, which is not installed: pip install -e '.[evaluate]'" in done.err
