"""Placements compose as maps of points, move pixels where they say, and keep noise white."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dreamlayer_jax.editing.placement import IN_PLACE, Placement, cut_then_shown

WIDTH = 20
numbers = st.floats(-15, 15)
placements = st.builds(Placement, flipped=st.booleans(), scale=st.floats(0.25, 4), shift_x=numbers, shift_y=numbers)


def moved(placement: Placement, x: float, y: float) -> tuple[float, float]:
    x = WIDTH - x if placement.flipped else x
    return placement.scale * x + placement.shift_x, placement.scale * y + placement.shift_y


@given(placements, placements, st.floats(0, 20), st.floats(0, 20))
def test_one_after_the_other_is_the_map_of_points(first: Placement, second: Placement, x: float, y: float) -> None:
    np.testing.assert_allclose(moved(first.then(second, WIDTH), x, y), moved(second, *moved(first, x, y)), atol=1e-6)


@given(placements)
def test_staying_in_place_changes_nothing(placement: Placement) -> None:
    assert placement.then(IN_PLACE, WIDTH) == placement == IN_PLACE.then(placement, WIDTH)


def spot() -> np.ndarray:
    picture = np.zeros((10, WIDTH, 1), np.float32)
    picture[4:6, 2:5] = np.random.default_rng(0).uniform(0.5, 1, (2, 3, 1))
    return picture


def test_whole_pixels_move_exactly() -> None:
    found = Placement(shift_x=3, shift_y=-2).apply(jnp.asarray(spot()))
    np.testing.assert_allclose(found, np.roll(spot(), (-2, 3), (0, 1)), atol=1e-6)
    np.testing.assert_allclose(Placement(flipped=True).apply(jnp.asarray(spot())), spot()[:, ::-1], atol=1e-6)


def test_half_a_pixel_moves_the_middle_by_half_a_pixel() -> None:
    columns = np.arange(WIDTH)[None, :, None]
    found = np.asarray(Placement(shift_x=0.5).apply(jnp.asarray(spot())))
    np.testing.assert_allclose((found * columns).sum() / found.sum() - (spot() * columns).sum() / spot().sum(), 0.5, atol=1e-4)


def test_the_box_follows() -> None:
    alpha = (spot()[..., 0] > 0).astype(np.uint8) * 255
    assert IN_PLACE.box(alpha) == (2, 4, 5, 6)
    placement = Placement(flipped=True, scale=2, shift_x=1, shift_y=-3)
    assert placement.box(alpha) == (2 * 15 + 1, 8 - 3, 2 * 18 + 1, 12 - 3)


def test_noise_is_carried_whole() -> None:
    noise = np.random.default_rng(1).normal(size=(4, 5, 2)).astype(np.float32)
    found = Placement(flipped=True, shift_x=9.0).carry(noise, (32, 40))
    np.testing.assert_array_equal(np.sort(found, axis=None), np.sort(noise, axis=None))
    np.testing.assert_array_equal(found, np.roll(noise[:, ::-1], 1, axis=1))


def test_only_what_a_border_cut_and_now_shows_is_missing() -> None:
    alpha = np.zeros((8, 8), np.uint8)
    alpha[2:5, 0:3] = 255  # cut by the left border
    inwards = cut_then_shown(alpha, Placement(shift_x=2))
    assert inwards is not None
    assert inwards[:, :2].all()
    assert not inwards[:, 2:].any()
    assert cut_then_shown(alpha, Placement(shift_x=-2)) is None
    assert cut_then_shown(alpha, Placement(shift_y=3)) is None
    mirrored = cut_then_shown(alpha, Placement(flipped=True, shift_x=-2))
    assert mirrored is not None
    assert mirrored[:, 6:].all()
    assert not mirrored[:, :6].any()
