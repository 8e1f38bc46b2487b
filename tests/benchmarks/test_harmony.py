"""What a moved object is compared with: itself, shifted back."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.harmony import moved_back
from data.scenes import alpha_box


def scene_with_object(left: int, right: int) -> SimpleNamespace:
    """16x16 pixels, one object from column `left` up to `right`, as far as the picture goes."""
    rgba = np.zeros((2, 16, 16, 4), np.uint8)
    rgba[0, ..., 3] = 255
    rgba[1, 4:12, max(0, left) : right, 3] = 255
    return SimpleNamespace(rgba=rgba, boxes=np.stack([alpha_box(layer[..., 3]) for layer in rgba]))


@pytest.mark.parametrize(("before", "after", "shift"), [((2, 6), (5, 9), 3), ((-2, 4), (1, 7), 3), ((9, 14), (4, 9), -5)])
def test_an_object_that_only_moved_is_unchanged(before: tuple[int, int], after: tuple[int, int], shift: int) -> None:
    picture = np.random.default_rng(0).uniform(size=(16, 16, 3)).astype(np.float32)
    scenes = scene_with_object(*before), scene_with_object(*after)
    assert moved_back(*scenes, picture, np.roll(picture, shift, axis=1)) > 90
    assert moved_back(*scenes, picture, picture) < 15
    noisy = np.roll(picture, shift, axis=1) + 0.1
    assert moved_back(*scenes, picture, noisy) == pytest.approx(20, abs=0.01)
