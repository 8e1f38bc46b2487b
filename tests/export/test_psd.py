"""The Photoshop document, read back by psd-tools: nothing that the scene says is lost."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from psd_tools import PSDImage
from psd_tools.constants import BlendMode

from dreamlayer_jax import LayeredImage
from dreamlayer_jax.export.editor_layers import editor_layers
from dreamlayer_jax.export.psd import old_name, write_psd


def test_names_order_places_and_pixels(scene: LayeredImage, tmp_path: Path) -> None:
    write_psd(scene, tmp_path / "scene.psd", shadow=True)
    document, layers = PSDImage.open(tmp_path / "scene.psd"), editor_layers(scene, shadow=True)
    assert (document.height, document.width) == scene.size
    assert [layer.name for layer in document] == [layer.name for layer in layers]
    assert [layer.name for layer in document][:4] == [layer.prompt for layer in scene.layers]
    assert [layer.blend_mode for layer in document] == [BlendMode.NORMAL] * 4 + [BlendMode.MULTIPLY, BlendMode.SCREEN]
    for read, ours in zip(document, layers, strict=True):
        assert read.offset == (ours.left, ours.top)
        assert not read.has_mask()
        np.testing.assert_array_equal(np.asarray(read.topil()), ours.rgba_straight)


def test_the_merged_picture_is_what_the_stack_shows(scene: LayeredImage, tmp_path: Path) -> None:
    write_psd(scene, tmp_path / "harmonised.psd", shadow=True)
    np.testing.assert_array_equal(np.asarray(PSDImage.open(tmp_path / "harmonised.psd").topil()), scene.composite_rgb)
    for name, image in (("plain.psd", scene), ("never.psd", dataclasses.replace(scene, composite_rgb=None))):
        write_psd(image, tmp_path / name)
        np.testing.assert_array_equal(np.asarray(PSDImage.open(tmp_path / name).topil()), scene.blend)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a dog", "a dog"), ("ein Käfer", "ein Käfer"), ("犬", "layer 2"), ("яблоко", "layer 2"), ("a ǧood dog", "a good dog"), ("", "")],
)
def test_old_programs_are_shown_a_name_that_can_be_read(name: str, shown: str) -> None:
    assert old_name(name, 2) == shown
    shown.encode("macroman")


def test_the_same_scene_gives_the_same_bytes(scene: LayeredImage, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_psd(scene, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
