"""Pictures of any size on a canvas, and back in their own size."""

import numpy as np
import pytest

from dreamlayer_jax.canvas import Canvas


def test_a_picture_of_the_canvas_size_is_untouched():
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    canvas = Canvas((16, 16), (16, 16))
    np.testing.assert_array_equal(canvas.place(picture), picture)
    np.testing.assert_array_equal(canvas.take(picture), picture)


@pytest.mark.parametrize("size", [(40, 16), (16, 40), (7, 5), (1, 300), (64, 64)])
def test_it_comes_back_in_its_own_size_and_place(size):
    picture = np.zeros((*size, 3), np.uint8)
    picture[: size[0] // 2 + 1, : size[1] // 2 + 1] = 200
    canvas = Canvas(size, (32, 32))
    placed = canvas.place(picture)
    assert placed.shape == (32, 32, 3)
    back = canvas.take(placed)
    assert back.shape == picture.shape
    assert back[0, 0, 0] > 150
    if min(size) > 4:
        assert back[-1, -1, 0] < 50


def test_the_border_is_repeated_outwards():
    placed = Canvas((2, 8), (8, 8)).place(np.full((2, 8, 3), 77, np.uint8))
    assert (placed == 77).all()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_floats_come_back_as_bytes_do(channels):
    picture = np.random.default_rng(0).integers(100, 150, (8, 8, channels), dtype=np.uint8)
    canvas = Canvas((24, 40), (8, 8))
    as_bytes = canvas.take(np.repeat(picture, 3, axis=-1))[..., :1] if channels == 1 else canvas.take(picture)
    as_floats = canvas.take(picture.astype(np.float32) / 255)
    np.testing.assert_allclose(as_floats.clip(0, 1) * 255, as_bytes, atol=6 if channels == 4 else 1.6)
