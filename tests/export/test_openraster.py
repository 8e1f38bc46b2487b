"""The OpenRaster file against the format's baseline (https://www.openraster.org/baseline/)."""

from __future__ import annotations

import dataclasses
import io
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dreamlayer_jax import LayeredImage
from dreamlayer_jax.export.editor_layers import editor_layers
from dreamlayer_jax.export.openraster import write_openraster


@pytest.fixture
def archive(scene: LayeredImage, tmp_path: Path) -> zipfile.ZipFile:
    write_openraster(scene, tmp_path / "scene.ora", shadow=True)
    return zipfile.ZipFile(tmp_path / "scene.ora")


def enlarged(picture: np.ndarray, times: int) -> np.ndarray:
    return picture.repeat(times, axis=0).repeat(times, axis=1)


def pixels(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(archive.read(name))))


def test_the_mimetype_is_first_and_not_compressed(archive: zipfile.ZipFile, tmp_path: Path) -> None:
    first = archive.infolist()[0]
    assert (first.filename, first.compress_type, archive.read(first)) == ("mimetype", zipfile.ZIP_STORED, b"image/openraster")
    assert (tmp_path / "scene.ora").read_bytes()[30:54] == b"mimetypeimage/openraster"  # where file(1) looks


def test_names_order_places_and_pixels(scene: LayeredImage, archive: zipfile.ZipFile) -> None:
    image, layers = ET.fromstring(archive.read("stack.xml")), editor_layers(scene, shadow=True)
    assert (image.tag, int(image.get("h")), int(image.get("w"))) == ("image", *scene.size)
    listed = list(image.find("stack"))[::-1]
    assert [entry.get("name") for entry in listed] == [*(layer.prompt for layer in scene.layers), "shadow", "light"]
    assert [entry.get("composite-op") for entry in listed] == ["svg:src-over"] * 4 + ["svg:multiply", "svg:screen"]
    for entry, layer in zip(listed, layers, strict=True):
        assert (int(entry.get("x")), int(entry.get("y"))) == (layer.left, layer.top)
        np.testing.assert_array_equal(pixels(archive, entry.get("src")), layer.rgba_straight)


def test_the_merged_picture_is_what_the_stack_shows(scene: LayeredImage, archive: zipfile.ZipFile) -> None:
    np.testing.assert_array_equal(pixels(archive, "mergedimage.png"), scene.composite_rgb)
    assert pixels(archive, "Thumbnails/thumbnail.png").shape == (*scene.size, 3)


def test_a_thumbnail_is_256_pixels_at_most(scene: LayeredImage, tmp_path: Path) -> None:
    layers = tuple(dataclasses.replace(layer, rgba_straight=enlarged(layer.rgba_straight, 4)) for layer in scene.layers)
    large = LayeredImage(layers=layers, global_rgb=enlarged(scene.global_rgb, 4), context_maps=scene.context_maps, seed=0)
    write_openraster(large, tmp_path / "large.ora")
    assert pixels(zipfile.ZipFile(tmp_path / "large.ora"), "Thumbnails/thumbnail.png").shape == (183, 256, 3)


def test_the_same_scene_gives_the_same_bytes(scene: LayeredImage, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_openraster(scene, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
