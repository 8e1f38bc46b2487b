"""Squares out of pictures of any size."""

from __future__ import annotations

import numpy as np
from PIL import Image

from data.crop import SquareScenes, scale_and_centre_crop
from data.source import SceneSource
from data.world import shapes_world


def test_the_middle_of_the_longer_side_is_kept() -> None:
    wide = np.zeros((4, 12, 3), np.uint8)
    wide[:, 4:8] = 255
    np.testing.assert_array_equal(scale_and_centre_crop(wide, 4), np.full((4, 4, 3), 255, np.uint8))
    np.testing.assert_array_equal(scale_and_centre_crop(wide.transpose(1, 0, 2), 4), np.full((4, 4, 3), 255, np.uint8))


def test_scaling_first_and_cutting_then_is_the_same() -> None:
    """Reference: Pillow, resized to the shorter side and then cut."""
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    image = Image.fromarray(picture).resize((30, 20), Image.Resampling.LANCZOS).crop((5, 0, 25, 20))
    found = scale_and_centre_crop(picture, 20).astype(int)
    assert np.abs(found - np.asarray(image)).max() <= 1


def test_colour_under_nothing_does_not_bleed() -> None:
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[..., :3] = (255, 0, 0)
    rgba[:, 4:] = (0, 255, 0, 255)
    seen = scale_and_centre_crop(rgba, 4)
    assert (seen[seen[..., 3] > 0][:, 0] == 0).all()


def test_a_scene_is_cut_whole() -> None:
    scenes = SquareScenes(SceneSource(shapes_world(), range(5), size=32, k=3), 16, range(1, 4))
    assert len(scenes) == 3
    example = scenes[2]
    assert example["rgba"].shape == (3, 16, 16, 4)
    assert example["global"].shape == (16, 16, 3)
    assert example["seed"] == 3
    assert (example["rgba"][0, ..., 3] == 255).all()
    assert (example["boxes"] <= 16).all()
