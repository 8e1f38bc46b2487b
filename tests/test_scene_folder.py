"""scene.json and the files that it names, as strangers and programs spoil them: one line with the key, and nothing read elsewhere."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from dreamlayer_jax import LayeredImage
from dreamlayer_jax.cli.main import main
from dreamlayer_jax.layer_axis import Role
from dreamlayer_jax.scene import KeptLatents, Layer

LARGE = np.zeros((1, 3, 256, 256, 4), np.float32)
STATES = np.zeros((2, 3, 2, 2, 4), np.float32)


def small(model: str = "pocket") -> LayeredImage:
    rgba = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 4), dtype=np.uint8)
    rgba[0, ..., 3] = 255
    return LayeredImage(
        layers=(
            Layer(prompt="a beach", role=Role.BACKGROUND, rgba_straight=rgba[0]),
            Layer(prompt="a dog", role=Role.FOREGROUND, rgba_straight=rgba[1]),
        ),
        global_rgb=rgba[0, ..., :3],
        context_maps=np.zeros((1, 4, 4), np.float32),
        seed=7,
        settings={"steps": 4, "guidance": 2.0},
        model=model,
        kept=KeptLatents(t=np.array([501, 1], np.int32), states=STATES, clean=STATES[0]),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small().save(tmp_path / "scene")


def with_value(folder: Path, path: tuple[str | int, ...], value: Any) -> None:
    tree = json.loads((folder / "scene.json").read_text(encoding="utf-8"))
    inner = tree
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (folder / "scene.json").write_text(json.dumps(tree), encoding="utf-8")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("layers", 1, "prompt"), 3, "layers.1.prompt is 3; input should be a valid string"),
        (("seed",), "x", "seed is 'x'; input should be a valid integer"),
        (("seed",), 1.5, "seed is 1.5"),
        (("seed",), [], r"seed is \[\]"),
        (("seed",), None, "lacks 'seed'"),
        (("settings",), [], r"settings is \[\]; input should be an object"),
        (("settings", "steps"), 1.5, "settings: steps is 1.5; input should be a valid integer"),
        (("settings", "steps"), "4", "settings: steps is '4'"),
        (("settings", "steps"), None, "settings: steps is None"),
        (("settings", "guidance"), "2", "settings: guidance is '2'"),
        (("settings", "guidance"), None, "settings: guidance is None"),
        (("settings", "guidance"), 1e300, "settings: guidance is 1e\\+300; input should be less than or equal to 1000000"),
        (("settings", "guidance"), float("nan"), "settings.guidance is not a finite number"),
        (("settings", "edits"), 3, "settings: edits is 3"),
        (("model",), 3, "model is 3; input should be a valid string"),
        (("context_size",), [0, 8], "context_size.0 is 0; input should be greater than or equal to 1"),
        (("context_size",), [3, 4], r"context_size \[3, 4\] does not divide size \[16, 16\]"),
        (("size",), [16, 10**9], "size.1 is 1000000000; input should be less than or equal to 16384"),
        (("size",), [16384, 16384], "2 layers of 16384x16384 are more than 134 million pixels together"),
        (("layers",), [], "list should have at least 1 item"),
        (("layers",), [{"prompt": "a", "file": "0_background.png"}] * 200_000, "list should have at most 100 items"),
        (("layers", 1, "role"), "global", "layers.1.role is 'global'; input should be 'background' or 'foreground'"),
        (("layers", 1, "file"), "../outside.png", "layers.1.file: the name '../outside.png' leads out of"),
        (("layers", 1, "file"), "/etc/passwd", "layers.1.file: the name '/etc/passwd' leads out of"),
        (("latents",), "/etc/passwd", "latents: the name '/etc/passwd' leads out of"),
        (("global",), "", "global is ''; string should have at least 1 character"),
        (("global",), "a" * 5000, "global is 'aaa"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_line_with_its_key(folder: Path, path: tuple[str | int, ...], value: Any, said: str) -> None:
    with_value(folder, path, value)
    with pytest.raises(ValueError, match=said) as refused:
        LayeredImage.load(folder)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 500


def test_a_listing_10000_deep_is_refused(folder: Path) -> None:
    (folder / "scene.json").write_text('{"settings": ' + "[" * 10_000 + "]" * 10_000 + "}")
    with pytest.raises(ValueError, match=r"scene\.json is not JSON .recursion limit exceeded"):
        LayeredImage.load(folder)


@pytest.mark.parametrize("spoil", ["symlink", "hard link", "fifo", "folder", "listing link", "listing fifo"])
def test_what_is_no_file_of_the_folder_is_not_read(folder: Path, tmp_path: Path, spoil: str) -> None:
    outside = tmp_path / "outside.png"
    shutil.copy(folder / "1_a_dog.png", outside)
    (folder / "1_a_dog.png").unlink()
    match spoil:
        case "symlink":
            (folder / "1_a_dog.png").symlink_to(outside)
        case "hard link":
            os.link(outside, folder / "1_a_dog.png")
        case "fifo":
            os.mkfifo(folder / "1_a_dog.png")
        case "folder":
            (folder / "1_a_dog.png").mkdir()
        case "listing link":
            shutil.move(folder / "scene.json", tmp_path / "scene.json")
            (folder / "scene.json").symlink_to(tmp_path / "scene.json")
        case "listing fifo":
            (folder / "scene.json").unlink()
            os.mkfifo(folder / "scene.json")
    with pytest.raises(ValueError, match=r"is a link out of|is a hard link to|is no regular file|is a folder"):
        LayeredImage.load(folder)


def write_latents(**changes: np.ndarray) -> Callable[[Path], None]:
    parts = {"t": np.array([501, 1], np.int32), "states": STATES, "clean": STATES[0]} | changes
    return lambda folder: save_file({name: part for name, part in parts.items() if part is not None}, folder / "latents.safetensors")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (write_latents(clean=None), "it holds states, t; expected is clean, states, t"),
        (write_latents(states=STATES[:, :2], clean=STATES[0, :2]), "holds latents of 2 layers; the scene's 2 and its global picture are 3"),
        (write_latents(states=STATES.astype(np.float64)), "expected are F32, F32 and I32"),
        (write_latents(clean=STATES[0, :, :1]), "do not fit together"),
        (write_latents(states=STATES[:, :, :, :0], clean=STATES[0, :, :, :0]), "too many for a scene of 16x16|are 2x0x4"),
        (write_latents(states=LARGE, clean=LARGE[0], t=np.array([1], np.int32)),
         "its latents are 256x256x4, too many for a scene of 16x16 pixels"),
        (write_latents(states=STATES + np.nan), "holds latents that are not finite"),
        (write_latents(t=np.array([1, 501], np.int32)), "its timesteps do not go down"),
        (lambda folder: (folder / "latents.safetensors").write_bytes(b"\0" * 8), "latents.safetensors is damaged"),
        (lambda folder: (folder / "latents.safetensors").unlink(), "latents.safetensors is missing, though scene.json names it"),
    ],
)  # fmt: skip
def test_latents_of_another_scene_are_refused(folder: Path, spoil: Callable[[Path], None], said: str) -> None:
    spoil(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        LayeredImage.load(folder)


def test_a_layer_that_an_editor_flattened_is_opaque_and_that_is_said(folder: Path) -> None:
    said: list[str] = []
    for name in ("0_background.png", "1_a_dog.png"):
        Image.open(folder / name).convert("RGB").save(folder / name)
    image = LayeredImage.load(folder, on_warning=said.append)
    assert all((layer.rgba_straight[..., 3] == 255).all() for layer in image.layers)
    assert said == [f"{folder / '1_a_dog.png'} has no alpha: it is read as opaque everywhere"]


@pytest.mark.parametrize("made_by", ["nobody/nothing", "/etc", "../model", "\x1b[31m", ""])
def test_the_model_that_a_scene_names_is_a_name_and_no_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, made_by: str
) -> None:
    dataclasses.replace(small(), model=made_by).save(tmp_path / "scene")
    monkeypatch.setattr("dreamlayer_jax.weights.where.fetch", lambda *_: pytest.fail("downloaded"))
    assert main(["edit", str(tmp_path / "scene"), "--flip", "1", "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "say with --weights where that model is" in said
    assert "\x1b" not in said


def test_a_folder_whose_writer_was_killed_is_found_again(folder: Path, tmp_path: Path) -> None:
    """Killed between the two renames of a system that cannot exchange names: what it had finished is put in place by reading."""
    work = tmp_path / ".scene.01234567.new"
    (work / "new").mkdir(parents=True)
    (work / "lock").touch()
    folder.rename(work / "old")
    small("new").save(work / "new" / "scene")
    assert LayeredImage.load(folder).model == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["scene"]
