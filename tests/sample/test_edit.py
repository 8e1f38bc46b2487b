"""`python -m sample edit` and `decompose` on a tiny model: what is written, what follows the edit, what is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dreamlayer_jax import DreamLayer
from dreamlayer_jax.cli.bar import Bar
from dreamlayer_jax.layered_image import LayeredImage
from dreamlayer_jax.request import RequestError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """A scene of two foregrounds, in a folder."""
    from sample.__main__ import main

    out = tmp_path_factory.mktemp("scenes") / "beach"
    arguments = ["generate", "--background", "a sandy beach", "--foreground", "a dog", "--foreground", "a cat", "--steps", "4"]
    assert main([*arguments, "--weights", str(tiny_folder), "--out", str(out)]) == 0
    return out


def test_a_scene_ends_with_its_composite_and_keeps_its_latents(made: Path) -> None:
    image = LayeredImage.load(made)
    assert image.composite_rgb is not None
    assert image.composite_rgb.shape == (16, 16, 3)
    assert image.settings["harmonize"] == [600, 400]
    np.testing.assert_array_equal(image.kept.t, [501, 251, 1])
    assert image.kept.states.shape == (3, 4, 2, 2, 4)


def test_no_harmonize_leaves_the_composite_out_and_keeps_the_latents(generate, tmp_path: Path) -> None:
    assert generate("--no-harmonize", "--out", tmp_path / "plain").status == 0
    image = LayeredImage.load(tmp_path / "plain")
    assert image.composite_rgb is None
    assert len(image.kept.t) > 0


def test_every_edit_at_once(sample, made: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    monkeypatch.setattr(Bar, "at", lambda _, share: shares.append(share))
    before = LayeredImage.load(made)
    edits = ("--move", "2:0.25,-0.125", "--flip", 2, "--remove", 1, "--add", "a duck")
    outcome = sample("edit", made, *edits, "--weights", tiny_folder, "--out", tmp_path / "edited")
    assert outcome.status == 0, outcome.err
    assert len(shares) > 3  # what was known, the pieces of what is made, and harmonisation
    assert shares == sorted(shares)
    assert shares[-1] == 1
    after = LayeredImage.load(tmp_path / "edited")
    assert [layer.prompt for layer in after.layers] == ["a sandy beach", "a cat", "a duck"]
    np.testing.assert_array_equal(after.background.rgba_straight, before.background.rgba_straight)
    np.testing.assert_array_equal(after.composite_rgb, after.global_rgb)
    assert [edit["edit"] for edit in after.settings["edits"]] == ["move", "flip", "remove", "add"]
    np.testing.assert_array_equal(after.kept.clean[0], before.kept.clean[0])
    assert not np.array_equal(after.kept.clean[1], before.kept.clean[2])


def test_an_untouched_scene_harmonised_again_is_the_same_picture(sample, made: Path, tiny_folder: Path, tmp_path: Path) -> None:
    assert sample("edit", made, "--order", "1,2", "--weights", tiny_folder, "--out", tmp_path / "same").status == 0
    again, before = LayeredImage.load(tmp_path / "same"), LayeredImage.load(made)
    assert np.abs(again.composite_rgb.astype(int) - before.composite_rgb).max() <= 1


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ((), "no edit"),
        (("--move", "7:0.1,0"), "layer 7"),
        (("--move", "1:east"), "N:DX,DY"),
        (("--resize", "1"), "N:FACTOR"),
        (("--order", "1;2"), "commas"),
        (("--order", "1"), "leaves out 2"),
        (("--move", "1:0.1,0", "--t-h", 400, "--t-h-end", 600), "window"),
    ],
)
def test_a_bad_edit_is_refused_and_nothing_is_written(sample, made: Path, tiny_folder: Path, tmp_path: Path, edits, words) -> None:
    outcome = sample("edit", made, *edits, "--weights", tiny_folder, "--out", tmp_path / "out")
    assert outcome.status == 1
    assert words in outcome.err
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "out").exists()


def test_damaged_latents_are_named(sample, made: Path, tiny_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    (copy / "latents.safetensors").write_bytes((copy / "latents.safetensors").read_bytes()[:-7])
    outcome = sample("edit", copy, "--flip", 1, "--weights", tiny_folder, "--out", tmp_path / "out")
    assert outcome.status == 1
    assert "latents.safetensors" in outcome.err


def test_a_scene_of_ones_own_without_latents_can_be_edited(sample, made: Path, tiny_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "own"
    own = LayeredImage.load(made)
    dataclasses.replace(own, kept=None, settings={}).save(copy)
    outcome = sample("edit", copy, "--move", "1:0.5,0", "--weights", tiny_folder, "--out", tmp_path / "out")
    assert outcome.status == 0, outcome.err
    assert LayeredImage.load(tmp_path / "out").kept is not None


def test_given_layers_stay_and_pictures_need_not_be_square(tiny_folder: Path) -> None:
    model = DreamLayer.from_pretrained(tiny_folder)
    background = np.full((16, 32, 4), 255, np.uint8)
    background[..., :3] = np.random.default_rng(0).integers(0, 256, (16, 32, 3))
    asked = {"background": "a sandy beach", "foregrounds": ["a dog"], "steps": 2, "size": (16, 32)}
    image = model.generate(**asked, given={0: background})
    np.testing.assert_array_equal(image.background.rgba_straight, background)
    assert image.size == (16, 32)
    with pytest.raises(RequestError, match="multiples of 16"):
        model.generate(**{**asked, "size": (16, 20)})
    with pytest.raises(RequestError, match="layer 5"):
        model.generate(**asked, given={5: background})
    with pytest.raises(RequestError, match=r"given layer 1 is 32x8 pixels .*, and the scene is 32x16: resize it to that"):
        model.generate(**asked, given={1: background[:8]})
    see_through = background.copy()
    see_through[0, 0, 3] = 0
    with pytest.raises(RequestError, match="opaque"):
        model.generate(**asked, given={0: see_through})


def test_a_layer_can_be_given_as_a_file(generate, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "beach.png")
    assert generate("--given", f"0:{tmp_path / 'beach.png'}", "--out", tmp_path / "out").status == 0
    np.testing.assert_array_equal(LayeredImage.load(tmp_path / "out").background.rgba_straight[..., :3], pixels)
    for wrong, words in (
        ("beach.png", "N:FILE"),
        (f"0:{tmp_path / 'none.png'}", "there is no picture"),
        (f"7:{tmp_path / 'beach.png'}", "layer 7"),
    ):
        refused = generate("--given", wrong, "--out", tmp_path / "refused")
        assert refused.status == 1
        assert words in refused.err
        assert not (tmp_path / "refused").exists()


def test_a_picture_of_any_size_is_taken_apart_in_its_own_size(sample, tiny_folder: Path, tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (11, 30, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "photo.png")
    outcome = sample(
        "decompose", tmp_path / "photo.png", "--background", "a beach", "--foreground", "a dog",
        "--steps", 2, "--weights", tiny_folder, "--out", tmp_path / "out",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    image = LayeredImage.load(tmp_path / "out")
    assert image.size == (11, 30)
    np.testing.assert_array_equal(image.global_rgb, picture)
    assert json.loads((tmp_path / "out" / "scene.json").read_text())["settings"]["method"] == "replay"


def test_what_is_no_picture_is_refused(sample, tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "words.png").write_text("no picture")
    outcome = sample(
        "decompose",
        tmp_path / "words.png",
        "--background",
        "a beach",
        "--foreground",
        "a dog",
        "--weights",
        tiny_folder,
        "--out",
        tmp_path / "o",
    )
    assert outcome.status == 1
    assert "no picture of a known format" in outcome.err
    assert not (tmp_path / "o").exists()
