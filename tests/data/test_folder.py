"""Finished layered images on disk, in the composer's schema."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from data.folder import FolderSource
from data.loader import scene_loader
from data.scenes import compose
from data.world import shapes_world
from dreamlayer_jax.compositing import composite, from_uint8
from dreamlayer_jax.layer_axis import Role
from dreamlayer_jax.layered_image import LayeredImage
from dreamlayer_jax.scene import Layer

SCENE = compose(shapes_world(), 4, size=32, k=3)


@pytest.fixture
def folder(tmp_path):
    """One scene, as a person would lay it out."""
    scene = tmp_path / "mine" / "0001"
    scene.mkdir(parents=True)
    layers = []
    for n, (prompt, rgba) in enumerate(zip(SCENE.prompts, SCENE.rgba, strict=True)):
        Image.fromarray(rgba).save(scene / f"{n}.png")
        layers.append({"prompt": prompt, "file": f"{n}.png", "name": SCENE.names[n]})
    Image.fromarray(SCENE.global_rgb).save(scene / "global.png")
    (scene / "scene.json").write_text(json.dumps({"layers": layers, "global": "global.png", "seed": 4}))
    return scene


def edit(scene, **changes):
    path = scene / "scene.json"
    described = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in described.items() if value is not None}))


def test_a_folder_gives_what_was_put_in(folder):
    source = FolderSource(folder.parent)
    assert len(source) == 1
    for key, value in source[0].items():
        np.testing.assert_array_equal(value, SCENE.example()[key])


def test_without_a_global_picture_it_is_the_composite(folder):
    edit(folder, **{"global": None})
    expected = composite(from_uint8(SCENE.rgba))
    np.testing.assert_allclose(from_uint8(FolderSource(folder)[0]["global"]), expected, atol=0.51 / 255)


def test_the_librarys_own_scene_folders_are_read(tmp_path):
    roles = [Role.BACKGROUND, Role.FOREGROUND, Role.FOREGROUND]
    layers = [Layer(prompt=p, role=r, rgba_straight=x) for p, r, x in zip(SCENE.prompts, roles, SCENE.rgba, strict=True)]
    image = LayeredImage(layers=tuple(layers), global_rgb=SCENE.global_rgb, context_maps=np.zeros((2, 8, 8), np.float32), seed=9)
    for name in ("a", "b"):
        image.save(tmp_path / name)
    batch = next(iter(scene_loader(FolderSource(tmp_path), batch_size=2)))
    np.testing.assert_array_equal(batch["rgba"][0, :3], SCENE.rgba)
    np.testing.assert_array_equal(batch["global"][1], SCENE.global_rgb)
    assert tuple(batch["prompts"][0, :3]) == SCENE.prompts


def test_what_is_wrong_is_named(folder, tmp_path):
    source = FolderSource(folder)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        FolderSource(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds no layered image.*scene\.json"):
        FolderSource(tmp_path / "empty")

    Image.new("RGB", (16, 16)).save(folder / "global.png")
    with pytest.raises(ValueError, match=r"global\.png is 16x16|differ in size"):
        source[0]
    (folder / "1.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1\.png"):
        source[0]
    Image.new("RGBA", (32, 32)).save(folder / "0.png")
    Image.new("RGBA", (32, 32)).save(folder / "1.png")
    with pytest.raises(ValueError, match=r"0\.png is the background and must be opaque"):
        source[0]
    edit(folder, layers=[{"prompt": "a beach", "file": "0.png"}, {"prompt": "a dog"}])
    with pytest.raises(ValueError, match=r"scene\.json is damaged: it lacks 'layers.1.file'"):
        source[0]
    edit(folder, layers=[])
    with pytest.raises(ValueError, match=r"scene\.json: layers is \[\]; list should have at least 1 item"):
        source[0]
    (folder / "scene.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        source[0]
