"""`python -m sample export`: what it writes, and what it refuses with one line and nothing written."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from psd_tools import PSDImage

from dreamlayer_jax import Layer, LayeredImage
from dreamlayer_jax.layer_axis import Role


def image() -> LayeredImage:
    rng = np.random.default_rng(0)
    rgba = rng.integers(0, 256, (2, 8, 12, 4), dtype=np.uint8)
    rgba[0, ..., 3] = 255
    return LayeredImage(
        layers=(
            Layer(prompt="a sandy beach", role=Role.BACKGROUND, rgba_straight=rgba[0]),
            Layer(prompt="a dog", role=Role.FOREGROUND, rgba_straight=rgba[1]),
        ),
        global_rgb=rgba[0, ..., :3],
        context_maps=np.zeros((1, 2, 3), np.float32),
        seed=0,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return image().save(tmp_path / "scene")


@pytest.mark.parametrize(
    ("options", "name"), [((), "a.psd"), (("--format", "psd"), "a.psd"), ((), "a.ora"), (("--format", "ora"), "a.ora")]
)
def test_a_scene_folder_becomes_one_file(sample, folder: Path, tmp_path: Path, options: tuple, name: str) -> None:
    done = sample("export", folder, *options, "--out", tmp_path / "new" / name)
    assert (done.status, done.err) == (0, "")
    assert done.out == f"wrote {tmp_path / 'new' / name}\n"
    assert (tmp_path / "new" / name).stat().st_size > 100


def test_a_harmonised_scene_may_have_its_shadow(sample, tmp_path: Path) -> None:
    made = image()
    dataclasses.replace(made, composite_rgb=made.blend // 2).save(tmp_path / "scene")
    assert sample("export", tmp_path / "scene", "--shadow", "--out", tmp_path / "a.psd").status == 0
    assert [layer.name for layer in PSDImage.open(tmp_path / "a.psd")] == ["a sandy beach", "a dog", "shadow", "light"]


def test_a_file_that_is_there_needs_overwrite(sample, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.psd").write_text("mine")
    done = sample("export", folder, "--out", tmp_path / "a.psd")
    assert done.status == 1
    assert "is there already" in done.err
    assert (tmp_path / "a.psd").read_text() == "mine"
    assert sample("export", folder, "--out", tmp_path / "a.psd", "--overwrite").status == 0


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (None, ("--out", "a.png"), "a.png must end in .psd or .ora"),
        (None, ("--out", "a.psd", "--format", "ora"), "--format is ora, but a.psd ends in .psd; make them agree"),
        (None, ("--out", "a.psd", "--shadow"), "the scene has no harmonised composite"),
        (lambda folder: (folder / "scene.json").unlink(), ("--out", "a.psd"), "no scene folder: it has no scene.json"),
        (lambda folder: (folder / "1_a_dog.png").unlink(), ("--out", "a.psd"), "there is no picture"),
        (lambda folder: (folder / "1_a_dog.png").write_bytes(b"no"), ("--out", "a.psd"), "1_a_dog.png is no picture of a known format"),
        (
            lambda folder: (folder / "scene.json").write_text('{"format": 1, "layers": 5}'),
            ("--out", "a.psd"),
            "scene.json: layers is 5; input",
        ),
    ],
)
def test_what_cannot_be_exported(
    sample, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change, options: tuple, message: str
) -> None:
    if change:
        change(folder)
    monkeypatch.chdir(tmp_path)
    done = sample("export", folder, *options)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert message in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["scene"]
