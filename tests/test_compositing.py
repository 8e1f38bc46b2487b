"""Laws of Eq. 1, then an outside reference."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dreamlayer_jax.compositing import (
    DARK_SQUARE,
    composite,
    from_uint8,
    mean_over_cells,
    over,
    over_checks,
    over_grey,
    premultiply,
    to_uint8,
    unpremultiply,
    visibility,
)


def stacks(layers: int | None = None) -> st.SearchStrategy[np.ndarray]:
    """Straight RGBA stacks (l, 3, 2, 4), values k/255 so that fully clear and fully opaque pixels are common."""
    count = st.integers(1, 4) if layers is None else st.just(layers)
    return count.flatmap(
        lambda l: hnp.arrays(np.uint8, (l, 3, 2, 4), elements=st.integers(0, 255)).map(lambda a: a.astype(np.float64) / 255)
    )


@given(stacks())
def test_eq_1_as_the_paper_writes_it(rgba: np.ndarray) -> None:
    """The sum of products, term by term."""
    alpha, colour, k = rgba[..., 3:], rgba[..., :3], len(rgba)
    expected = sum(alpha[i] * colour[i] * np.prod([1 - alpha[f] for f in range(i + 1, k)], axis=0) for i in range(k))
    np.testing.assert_allclose(composite(rgba), expected, atol=1e-12)


@given(stacks())
def test_a_picture_is_its_layers_as_far_as_each_is_seen(rgba: np.ndarray) -> None:
    np.testing.assert_allclose(composite(rgba), (visibility(rgba[..., 3])[..., None] * rgba[..., :3]).sum(axis=0), atol=1e-12)


@given(stacks(3))
def test_over_is_associative(rgba: np.ndarray) -> None:
    a, b, c = premultiply(rgba)
    np.testing.assert_allclose(over(over(a, b), c), over(a, over(b, c)), atol=1e-12)


@given(stacks())
def test_clear_layers_change_nothing(rgba: np.ndarray) -> None:
    clear = rgba[:1].copy()
    clear[..., 3] = 0
    np.testing.assert_allclose(composite(np.concatenate([rgba, clear])), composite(rgba), atol=1e-12)


@given(stacks())
def test_an_opaque_layer_hides_what_is_behind(rgba: np.ndarray) -> None:
    rgba[-1, ..., 3] = 1
    np.testing.assert_allclose(composite(rgba), rgba[-1, ..., :3], atol=1e-12)


@given(stacks(1))
def test_premultiplied_and_back(rgba: np.ndarray) -> None:
    seen = rgba[..., 3:] > 0
    back = unpremultiply(premultiply(rgba))
    np.testing.assert_allclose(back[..., :3], rgba[..., :3] * seen, atol=1e-12)
    np.testing.assert_array_equal(back[..., 3], rgba[..., 3])


@given(stacks(1))
def test_over_grey_is_eq_1_over_a_grey_background(rgba: np.ndarray) -> None:
    grey = np.full_like(rgba, 0.5)
    grey[..., 3] = 1
    np.testing.assert_allclose(over_grey(rgba[0]), composite(np.concatenate([grey, rgba])), atol=1e-12)


@given(hnp.arrays(np.uint8, (2, 3, 4)))
def test_bytes_survive_the_round_trip(image: np.ndarray) -> None:
    np.testing.assert_array_equal(to_uint8(from_uint8(image)), image)


def test_to_uint8_clips() -> None:
    np.testing.assert_array_equal(to_uint8(np.array([-0.5, 1.5])), [0, 255])


def test_numpy_and_traced_jax_agree() -> None:
    rgba = np.random.default_rng(0).random((3, 4, 5, 4), dtype=np.float32)
    for function in (composite, premultiply, unpremultiply, over_grey, to_uint8):
        ours = jax.jit(function)(jnp.asarray(rgba))
        assert isinstance(ours, jax.Array)
        np.testing.assert_allclose(ours, function(rgba), atol=1e-6)


def test_batches_of_scenes_pass_through() -> None:
    rgba = np.random.default_rng(1).random((3, 2, 4, 4, 4))
    np.testing.assert_allclose(composite(rgba)[1], composite(rgba[:, 1]), atol=1e-12)


def test_agrees_with_pillow() -> None:
    """Pillow composites bytes of two layers; its rounding leaves one step of 255."""
    rng = np.random.default_rng(2)
    far, near = rng.integers(0, 256, (2, 16, 16, 4), dtype=np.uint8)
    far[..., 3] = 255
    theirs = np.asarray(Image.alpha_composite(Image.fromarray(far), Image.fromarray(near)))[..., :3]
    ours = to_uint8(composite(from_uint8(np.stack([far, near]))))
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_what_is_no_layer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"RGBA with 4 channels last, got shape \(2, 2, 3\)"):
        over_grey(np.zeros((2, 2, 3)))
    with pytest.raises(ValueError, match="no layers"):
        composite(np.zeros((0, 2, 2, 4)))


def test_a_clear_layer_shows_the_squares_and_an_opaque_one_hides_them() -> None:
    clear = over_checks(np.zeros((32, 32, 4), np.float32))
    assert clear[0, 0].tolist() == [1, 1, 1]
    np.testing.assert_allclose(clear[0, 2], DARK_SQUARE)  # a square is a sixteenth of the side: two pixels
    np.testing.assert_array_equal(clear[2:, :2], clear[:-2, 2:4])
    np.testing.assert_array_equal(over_checks(np.full((32, 32, 4), 1, np.float32)), 1)


@pytest.mark.parametrize("xp", [np, jnp])
def test_alpha_on_a_coarser_grid_is_the_mean_of_each_cell_and_of_nothing_beside_it(xp) -> None:
    edge = xp.asarray([[1.0, 1, 1, 1, 0, 0, 0, 0]] * 4)
    np.testing.assert_array_equal(mean_over_cells(edge, 2, 4), [[1, 1, 0, 0]] * 2)
    alpha = np.random.default_rng(0).uniform(size=(2, 3, 8, 12))
    found = mean_over_cells(xp.asarray(alpha), 4, 3)
    np.testing.assert_allclose(found[1, 2, 3, 1], alpha[1, 2, 6:8, 4:8].mean(), rtol=1e-6)
    assert found.shape == (2, 3, 4, 3)
    with pytest.raises(ValueError, match="8x12 pixels cannot be cut into 3x3"):
        mean_over_cells(xp.asarray(alpha), 3, 3)
