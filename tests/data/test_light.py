"""Shadows lie where the sun puts them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from data.light import Light, cast

SIZE = 64
CARD = Image.new("L", (10, 20), 255)  # its foot at y = 50, its middle at x = 30
LEFT, TOP = 25, 30


def shadow(**changes):
    light = {"side": 1, "shear": 0.8, "back": 0.3, "strength": 0.5, "blur": 0.01, "in_view": False} | changes
    return cast(CARD, LEFT, TOP, SIZE, Light(**light), 0.5)


def test_an_upright_card_throws_a_sheared_parallelogram():
    # The card's top edge (v = 20) lands 16 pixels aside and 6 up: its shadow's middle there is x = 46, y = 44.
    dark = shadow(blur=0.0)
    assert dark[45, 45] == pytest.approx(0.5)
    assert dark[42, 47] == 0
    assert dark[45, 60] == 0


def test_mirroring_the_sun_mirrors_the_shadow():
    right, left = shadow(), shadow(side=-1, shear=-0.8)
    np.testing.assert_allclose(right[:, :60], left[:, :60][:, ::-1], atol=0.01)  # mirrored about x = 30


def test_strength_bounds_and_scales_the_shadow():
    weak, strong = shadow(strength=0.25), shadow(strength=0.5)
    np.testing.assert_allclose(strong, 2 * weak, atol=1e-6)
    assert strong.max() <= 0.5


def test_shadows_fall_away_from_a_sun_behind_the_viewer_and_towards_him_from_a_sun_in_view():
    away, towards = shadow(blur=0.0), shadow(back=-0.15, in_view=True, blur=0.0)
    assert away[:45].sum() > 0
    assert towards[:45].sum() == 0
    assert towards[52:].sum() > away[52:].sum()


def test_no_shadow_reaches_above_the_horizon():
    tall = Image.new("L", (10, 40), 255)
    light = Light(side=1, shear=0.5, back=0.9, strength=0.5, blur=0.0, in_view=False)
    assert cast(tall, 20, 10, SIZE, light, 0.6)[: int(0.6 * SIZE) - 1].max() == 0


def test_an_object_darkens_the_ground_it_touches():
    assert shadow(shear=0.0)[51, 30] > 0.15
    assert shadow()[62, 30] == 0
