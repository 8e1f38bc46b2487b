"""The contact sheet shows every picture, and clear pixels as a checkerboard."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dreamlayer_jax import Layer, LayeredImage
from dreamlayer_jax.export.scene_folder import slug
from dreamlayer_jax.export.sheet import contact_sheet, on_checks
from dreamlayer_jax.layer_axis import Role

COLOURS = ((200, 30, 40), (30, 200, 60), (40, 50, 210))


def plain(colours: tuple[tuple[int, int, int], ...]) -> LayeredImage:
    """Solid layers, one colour each: background, then foregrounds."""
    pixels = [np.full((16, 16, 4), (*colour, 255), np.uint8) for colour in colours]
    layers = tuple(
        Layer(prompt=f"colour {i}", role=Role.FOREGROUND if i else Role.BACKGROUND, rgba_straight=rgba) for i, rgba in enumerate(pixels)
    )
    return LayeredImage(
        layers=layers, global_rgb=np.full((16, 16, 3), 77, np.uint8), context_maps=np.zeros((len(layers) - 1, 4, 4), np.float32), seed=0
    )


def area(sheet: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((sheet == colour).all(-1).sum())


def test_every_picture_is_on_the_sheet_enlarged() -> None:
    sheet = contact_sheet(plain(COLOURS))
    tile = 256 * 256
    assert area(sheet, COLOURS[0]) == tile
    assert area(sheet, COLOURS[1]) == tile
    assert area(sheet, COLOURS[2]) == 2 * tile  # the nearest layer is also the blend
    assert area(sheet, (77, 77, 77)) == tile


def test_a_composite_is_shown() -> None:
    image = dataclasses.replace(plain(COLOURS), composite_rgb=np.full((16, 16, 3), (10, 90, 170), np.uint8))
    assert area(contact_sheet(image), (10, 90, 170)) == 256 * 256


def test_the_sheet_grows_by_a_column_a_foreground() -> None:
    one, two = (contact_sheet(plain(COLOURS[:k])) for k in (2, 3))
    assert two.shape[1] - one.shape[1] == 276
    assert two.shape[0] == one.shape[0]


def test_clear_pixels_are_a_checkerboard_whatever_their_stored_colour() -> None:
    rgba = np.zeros((16, 16, 4), np.uint8)
    rgba[..., 0] = 255
    colours, counts = np.unique(np.asarray(on_checks(rgba, 256)).reshape(-1, 3), axis=0, return_counts=True)
    assert {tuple(colour) for colour in colours.tolist()} == {(255, 255, 255), (214, 214, 218)}
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("A red apple!", "a_red_apple"),
        ("../../etc/passwd", "etc_passwd"),
        ("un café crème", "un_cafe_creme"),
        ("狗", "layer"),
        ("long " * 30, "long_long_long_long_long_long_long_long"),
    ],
)
def test_slugs_are_safe_file_names(prompt: str, expected: str) -> None:
    assert slug(prompt) == expected
