"""The held-out prompt sets, and the pictures and captions of a scene by role."""

from __future__ import annotations

import numpy as np
import pytest

from sample.evaluate.scenes import FIRST_SEED, ROLES, ScenePictures, batches_of_equal_k, held_out_scenes, true_pictures


def test_evaluation_scenes_are_held_out_and_of_every_k():
    source = held_out_scenes(6)
    assert source.split == "held_out"
    assert source.seeds[0] == FIRST_SEED
    pictures = [true_pictures(source[n]) for n in range(3)]
    assert sorted(len(picture.rgba) for picture in pictures) == [2, 3, 4]


def test_batches_hold_every_example_once_with_one_k_each():
    examples = [{"names": ("x",) * k, "seed": n} for n, k in enumerate((2, 3, 4, 3, 3, 2))]
    batches = list(batches_of_equal_k(examples, 2))
    assert sorted(example["seed"] for batch in batches for example in batch) == list(range(6))
    assert all(len({len(example["names"]) for example in batch}) == 1 and len(batch) <= 2 for batch in batches)


def test_pictures_by_role_go_with_their_captions():
    rgba = np.zeros((3, 4, 4, 4), np.uint8)
    rgba[0] = 255
    rgba[2, :2] = (255, 0, 0, 255)
    scene = ScenePictures(
        rgba=rgba,
        global_rgb=np.full((4, 4, 3), 51, np.uint8),
        names=("white", "hole", "tape"),
        prompts=("white", "a hole", "a tape"),
        seed=0,
    )
    assert {role: len(scene.pictures(role)) for role in ROLES} == {
        "background": 1,
        "foreground": 2,
        "global": 1,
        "blend": 1,
        "composite": 0,
    }
    np.testing.assert_array_equal(scene.pictures("foreground")[0], 0.5)  # nothing, on mid-grey
    np.testing.assert_array_equal(scene.pictures("blend")[0, :2], np.broadcast_to([1, 0, 0], (2, 4, 3)))
    np.testing.assert_allclose(scene.pictures("global"), 0.2, rtol=1e-6)
    assert scene.captions("foreground") == ["a hole", "a tape"]
    assert scene.captions("background") == ["white"]
    assert scene.captions("blend") == ["white, a hole, a tape"]
    with pytest.raises(ValueError, match="its roles are background, foreground"):
        scene.pictures("shadow")
