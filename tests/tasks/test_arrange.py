"""Where a foreground goes that was made by itself."""

from __future__ import annotations

import numpy as np

from dreamlayer_jax.editing.placement import IN_PLACE
from dreamlayer_jax.tasks.arrange import placement_by_map

ALPHA = np.zeros((32, 32), np.uint8)
ALPHA[4:28, 8:24] = 255  # 24 high, 16 wide


def box_of(context_map: np.ndarray) -> tuple[float, ...]:
    return placement_by_map(context_map, ALPHA).box(ALPHA)


def test_it_fills_the_maps_box_and_stands_on_its_ground() -> None:
    context_map = np.zeros((4, 4), np.float32)
    context_map[2:, 1:3] = 0.9  # 16 by 16 pixels
    left, top, right, bottom = box_of(context_map)
    np.testing.assert_allclose([top, bottom], [16, 32])
    np.testing.assert_allclose([right - left, (left + right) / 2], [16 * 16 / 24, 16])


def test_it_is_never_larger_than_it_was_made_nor_vanishes() -> None:
    np.testing.assert_allclose(box_of(np.ones((4, 4), np.float32)), [8, 8, 24, 32])
    one_cell = np.zeros((32, 32), np.float32)
    one_cell[9, 9] = 1
    left, top, right, bottom = box_of(one_cell)
    np.testing.assert_allclose([right - left, bottom - top, bottom], [1.6, 2.4, 10])


def test_a_map_that_says_nothing_and_an_empty_layer_leave_it_in_place() -> None:
    assert placement_by_map(np.full((4, 4), 0.5, np.float32), ALPHA) == IN_PLACE
    assert placement_by_map(np.ones((4, 4), np.float32), np.zeros_like(ALPHA)) == IN_PLACE
