"""LayeredImage: what it accepts, and that saving and loading keep it."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dreamlayer_jax import Layer, LayeredImage
from dreamlayer_jax.export.sheet import contact_sheet
from dreamlayer_jax.layer_axis import Role


def scene(foregrounds: int = 2, size: tuple[int, int] = (16, 24), seed: int = 0, *, harmonised: bool = False) -> LayeredImage:
    rng = np.random.default_rng(seed)
    rgba = rng.integers(0, 256, (1 + foregrounds, *size, 4), dtype=np.uint8)
    rgba[0, ..., 3] = 255
    prompts = ("a sandy beach", "a red apple", "a dog", "a dog")
    return LayeredImage(
        layers=tuple(
            Layer(prompt=prompt, role=Role.FOREGROUND if i else Role.BACKGROUND, rgba_straight=pixels)
            for i, (prompt, pixels) in enumerate(zip(prompts, rgba, strict=False))
        ),
        global_rgb=rng.integers(0, 256, (*size, 3), dtype=np.uint8),
        context_maps=rng.integers(0, 256, (foregrounds, 4, 6)).astype(np.float32) / 255,
        seed=7,
        settings={"steps": 50, "guidance": 2.5},
        model="pocket",
        composite_rgb=rng.integers(0, 256, (*size, 3), dtype=np.uint8) if harmonised else None,
    )


@pytest.mark.parametrize("foregrounds", [0, 1, 2, 3])
def test_load_gives_back_what_save_was_given(tmp_path: Path, foregrounds: int) -> None:
    saved = scene(foregrounds)
    loaded = LayeredImage.load(saved.save(tmp_path / "scene"))
    assert [(layer.prompt, layer.role) for layer in loaded.layers] == [(layer.prompt, layer.role) for layer in saved.layers]
    for ours, theirs in zip(loaded.layers, saved.layers, strict=True):
        np.testing.assert_array_equal(ours.rgba_straight, theirs.rgba_straight)
    np.testing.assert_array_equal(loaded.global_rgb, saved.global_rgb)
    np.testing.assert_array_equal(loaded.context_maps, saved.context_maps)
    assert (loaded.seed, loaded.settings, loaded.model) == (saved.seed, saved.settings, saved.model)


def test_a_composite_is_a_file_of_its_own_and_comes_back(tmp_path: Path) -> None:
    harmonised = scene(harmonised=True)
    folder = harmonised.save(tmp_path / "harmonised")
    assert "composite.png" in json.loads((folder / "scene.json").read_text())["files"]
    np.testing.assert_array_equal(LayeredImage.load(folder).composite_rgb, harmonised.composite_rgb)
    assert LayeredImage.load(scene().save(tmp_path / "not")).composite_rgb is None


def test_a_folder_from_before_composites_can_be_read(tmp_path: Path) -> None:
    folder = scene().save(tmp_path / "scene")
    written = json.loads((folder / "scene.json").read_text())
    del written["composite"]
    (folder / "scene.json").write_text(json.dumps(written))
    assert LayeredImage.load(folder).composite_rgb is None


def test_the_folder_holds_what_the_format_promises(tmp_path: Path) -> None:
    folder = scene().save(tmp_path / "new" / "scene")
    layers = {"0_background.png", "1_a_red_apple.png", "2_a_dog.png"}
    names = layers | {"global.png", "blend.png", "context_1.png", "context_2.png", "sheet.png"}
    assert {path.name for path in folder.iterdir()} == names | {"scene.json"}
    written = json.loads((folder / "scene.json").read_text())
    assert set(written["files"]) == names
    assert written["seed"] == 7
    assert [layer["prompt"] for layer in written["layers"]] == ["a sandy beach", "a red apple", "a dog"]
    with Image.open(folder / "2_a_dog.png") as picture, Image.open(folder / "context_1.png") as context:
        assert (picture.mode, picture.size) == ("RGBA", (24, 16))
        assert (context.mode, context.size) == ("L", (24, 16))


def test_blend_is_what_an_editor_shows(tmp_path: Path) -> None:
    """Pillow stacks the written files; each of its two roundings may move a byte by one."""
    folder = scene().save(tmp_path / "scene")
    stacked = Image.open(folder / "0_background.png")
    for name in ("1_a_red_apple.png", "2_a_dog.png"):
        stacked = Image.alpha_composite(stacked, Image.open(folder / name))
    blend = np.asarray(Image.open(folder / "blend.png")).astype(int)
    assert np.abs(blend - np.asarray(stacked)[..., :3]).max() <= 2


def test_the_same_image_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = (scene().save(tmp_path / name) for name in ("one", "two"))
    assert {p.name: p.read_bytes() for p in one.iterdir()} == {p.name: p.read_bytes() for p in two.iterdir()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": ()}, "layers are a background, then foregrounds"),
        ({"layers": scene().layers[1:]}, r"got \['foreground', 'foreground'\]"),
        ({"global_rgb": scene(size=(8, 24)).global_rgb}, "share one canvas"),
        ({"global_rgb": scene().global_rgb.astype(np.float32)}, r"the global picture must be uint8 of shape \(h, w, 3\); got float32"),
        ({"composite_rgb": scene(size=(8, 24)).global_rgb}, "share one canvas"),
        ({"composite_rgb": scene().blend[..., :1]}, r"the composite must be uint8 of shape \(h, w, 3\)"),
        ({"context_maps": scene(1).context_maps}, "one a foreground"),
        ({"context_maps": np.zeros((2, 5, 6), np.float32)}, "sides that divide the canvas"),
    ],
)
def test_what_is_no_scene_is_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(scene(), **change)


def test_a_clear_background_is_refused() -> None:
    image = scene()
    clear = dataclasses.replace(image.background, rgba_straight=np.zeros_like(image.background.rgba_straight))
    with pytest.raises(ValueError, match="background must be opaque"):
        dataclasses.replace(image, layers=(clear, *image.foregrounds))


def test_the_global_picture_is_no_layer() -> None:
    with pytest.raises(ValueError, match="background or a foreground"):
        dataclasses.replace(scene().background, role=Role.GLOBAL)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda folder: (folder / "scene.json").unlink(), FileNotFoundError, "no scene folder: it has no scene.json"),
        (lambda folder: (folder / "scene.json").write_text("{"), ValueError, "scene.json is not JSON"),
        (lambda folder: (folder / "scene.json").write_text('{"format": 99}'), ValueError, "format 99, this version reads format 1"),
        (lambda folder: (folder / "scene.json").write_text('{"format": 1}'), ValueError, "damaged: it lacks 'layers'"),
        (lambda folder: (folder / "2_a_dog.png").unlink(), FileNotFoundError, "there is no picture .*2_a_dog.png"),
        (lambda folder: (folder / "2_a_dog.png").write_bytes(b"no picture"), ValueError, "2_a_dog.png is no picture of a known format"),
        (lambda folder: cut_short(folder / "2_a_dog.png"), ValueError, "2_a_dog.png is a damaged picture"),
        (
            lambda folder: Image.new("RGB", (16, 24)).save(folder / "global.png"),
            ValueError,
            r"global.png is 16x24 .*is 24x16",
        ),
    ],
)
def test_a_damaged_folder_is_named(tmp_path: Path, damage, error: type[Exception], message: str) -> None:
    folder = scene().save(tmp_path / "scene")
    damage(folder)
    with pytest.raises(error, match=message):
        LayeredImage.load(folder)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def test_a_notebook_shows_the_sheet() -> None:
    image = scene(harmonised=True)
    shown = Image.open(io.BytesIO(image._repr_png_()))
    sheet = contact_sheet(image)
    assert shown.format == "PNG"
    assert shown.size == sheet.shape[1::-1]
    assert np.abs(np.asarray(shown.convert("RGB")).astype(int) - sheet).mean() < 8
