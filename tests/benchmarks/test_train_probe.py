"""The probe's targets."""

from __future__ import annotations

import numpy as np

from benchmarks.train_probe import pixel_classes


def test_pixel_classes_take_the_nearest_object_with_alpha_over_half():
    rgba = np.zeros((2, 16, 16, 4), np.uint8)
    rgba[0, 0:4, 0:4, 3] = rgba[1, 2:6, 2:6, 3] = 255
    rgba[1, 2, 2, 3] = 127
    classes = pixel_classes(rgba, [0, 1], 3)
    assert [classes[0, 0], classes[2, 2], classes[3, 3], classes[5, 5], classes[9, 9]] == [0, 0, 1, 1, 3]
