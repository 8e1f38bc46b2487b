"""The files as programs of others show them: psd-tools' compositor, ImageMagick, Krita and pyora, none of which shares code with ours.

Each rounds to bytes after every layer, so what a stack shows may differ from Eq. 1 by 2/255.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from psd_tools import PSDImage
from pyora import Project

from dreamlayer_jax import LayeredImage
from dreamlayer_jax.export.editor_file import write_editor_file
from dreamlayer_jax.export.editor_layers import editor_layers

TOLERANCE = 2


@pytest.fixture(scope="module")
def written(scene: LayeredImage, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`written("shadow.psd")`: the scene's files, with a shadow layer or plain."""
    folder = tmp_path_factory.mktemp("written")
    for name in ("plain.psd", "shadow.psd", "plain.ora", "shadow.ora"):
        write_editor_file(scene, folder / name, shadow=name.startswith("shadow"))
    return lambda name: folder / name


def shown(scene: LayeredImage, name: str) -> np.ndarray:
    """What the stack in the file should show."""
    return scene.composite_rgb if name.startswith("shadow") else scene.blend


def assert_same(picture: np.ndarray | Image.Image, expected: np.ndarray, tolerance: int = TOLERANCE) -> None:
    picture = np.asarray(picture)
    assert picture.shape[:2] == expected.shape[:2]
    assert (picture[..., 3:] >= 255 - tolerance).all()
    difference = np.abs(picture[..., :3].astype(int) - expected)
    assert difference.max() <= tolerance, f"differs by {difference.max()} in {(difference > tolerance).sum()} bytes"


def opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGBA")


@pytest.mark.parametrize("name", ["plain.psd", "shadow.psd"])
def test_psd_tools_shows_the_stack(scene: LayeredImage, written: Callable[[str], Path], name: str) -> None:
    assert_same(PSDImage.open(written(name)).composite(ignore_preview=True), shown(scene, name))


@pytest.mark.parametrize("name", ["plain.psd", "shadow.psd"])
def test_imagemagick_shows_the_stack_each_layer_and_the_merged_picture(
    scene: LayeredImage, written: Callable[[str], Path], name: str, imagemagick: str, run: Callable[..., str], tmp_path: Path
) -> None:
    run(imagemagick, f"{written(name)}[0]", tmp_path / "merged.png")
    assert_same(opened(tmp_path / "merged.png"), shown(scene, name), tolerance=0)
    layers = editor_layers(scene, shadow=name.startswith("shadow"))
    for i, layer in enumerate(layers, start=1):
        run(imagemagick, f"{written(name)}[{i}]", "+repage", tmp_path / f"{i}.png")
        np.testing.assert_array_equal(np.asarray(opened(tmp_path / f"{i}.png")), layer.rgba_straight)
    run(imagemagick, f"{written(name)}[1-{len(layers)}]", "-background", "none", "-flatten", tmp_path / "stack.png")
    assert_same(opened(tmp_path / "stack.png"), shown(scene, name))


@pytest.mark.parametrize("name", ["plain.psd", "shadow.psd", "plain.ora", "shadow.ora"])
def test_krita_shows_the_stack(
    scene: LayeredImage, written: Callable[[str], Path], name: str, krita: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    krita(written(name), tmp_path / "shown.png")
    assert_same(opened(tmp_path / "shown.png"), shown(scene, name))


@pytest.mark.parametrize("name", ["plain.ora", "shadow.ora"])
def test_pyora_shows_the_stack_and_the_merged_picture(scene: LayeredImage, written: Callable[[str], Path], name: str) -> None:
    project = Project.load(str(written(name)))
    assert_same(project.get_image_data(use_original=True).convert("RGBA"), shown(scene, name), tolerance=0)
    assert_same(project.get_image_data(use_original=False), shown(scene, name))
