"""Layers held against the picture they were found in: where its detail goes, and what of them it bears out."""

from __future__ import annotations

import numpy as np
import pytest

from dreamlayer_jax.compositing import composite
from dreamlayer_jax.tasks.seen_in_picture import UNSUPPORTED, support, with_detail


def layer(color: tuple[float, float, float], rows: slice = slice(None), columns: slice = slice(None), side: int = 32) -> np.ndarray:
    """Straight RGBA of one colour, opaque in a rectangle."""
    rgba = np.zeros((side, side, 4))
    rgba[..., :3] = color
    rgba[rows, columns, 3] = 1
    return rgba


SKY, BURGER = layer((0.4, 0.6, 0.9)), layer((0.7, 0.4, 0.1), slice(10, 20), slice(4, 14))
UMBRELLA = layer((0.5, 0.1, 0.6), slice(6, 22), slice(16, 30))


def test_detail_goes_to_the_layer_that_is_seen_and_not_behind_an_outline() -> None:
    rng = np.random.default_rng(0)
    layers = np.stack([SKY, BURGER, UMBRELLA])
    through = rng.uniform(0.4, 0.6, (32, 32, 3))
    picture = through + rng.uniform(-0.1, 0.1, through.shape)
    found = with_detail(layers, through, picture, reach=2)
    added = composite(found) - composite(layers)
    beside = np.zeros((32, 32), bool)
    beside[8:22, 2:16] = beside[4:24, 14:32] = True  # two pixels around either
    inside = (BURGER[..., 3] == 1) | (UMBRELLA[..., 3] == 1)
    np.testing.assert_allclose(added[~beside | inside], (picture - through)[~beside | inside], atol=1e-12)
    np.testing.assert_array_equal(found[0][beside], layers[0][beside])  # no line stays when an object is taken away
    np.testing.assert_array_equal(found[..., 3], layers[..., 3])


def test_detail_of_a_batch_is_that_of_each_scene() -> None:
    rng = np.random.default_rng(1)
    layers = rng.uniform(size=(3, 2, 8, 8, 4))
    through, picture = rng.uniform(size=(2, 2, 8, 8, 3))
    one = with_detail(layers[:, 1], through[1], picture[1])
    np.testing.assert_allclose(with_detail(layers, through, picture)[:, 1], one)


def test_what_the_picture_shows_is_supported_and_an_invention_is_not() -> None:
    picture = composite(np.stack([SKY, BURGER]))
    burger, umbrella = support(np.stack([SKY, BURGER, UMBRELLA]), picture)
    assert burger == 1
    assert umbrella < 0.05 < UNSUPPORTED
    half = UMBRELLA.copy()
    half[:14, ..., 3] = 0  # of the rest the picture shows half: it hides as much as it explains
    shown = composite(np.stack([SKY, layer((0.5, 0.1, 0.6), slice(14, 18), slice(16, 30))]))
    assert support(np.stack([SKY, half]), shown) == pytest.approx([0.0], abs=0.2)


def test_an_object_of_its_backgrounds_colour_is_not_doubted() -> None:
    snow, snowman = layer((0.95, 0.95, 0.97)), layer((0.97, 0.96, 0.97), slice(8, 20), slice(8, 16))
    (found,) = support(np.stack([snow, snowman]), composite(np.stack([snow, snowman])) + 0.01)
    assert found > 0.9
