"""The shapes in the library's signatures hold in every test (tests/conftest.py)."""

from __future__ import annotations

import jaxtyping
import numpy as np
import pytest

from dreamlayer_jax.diffusion.harmonize import fuse


def test_a_shape_that_the_signature_does_not_have_is_caught() -> None:
    """Alphas of four channels: NumPy would broadcast them in silence."""
    background, foregrounds = np.zeros((1, 2, 2, 4), np.float32), np.ones((3, 1, 2, 2, 4), np.float32)
    np.testing.assert_array_equal(fuse(background, foregrounds, foregrounds[..., :1]), np.ones_like(background))
    with pytest.raises(jaxtyping.TypeCheckError, match="typechecking parameter 'alphas'"):
        fuse(background, foregrounds, foregrounds)


def test_a_kind_of_number_that_the_signature_does_not_have_is_caught() -> None:
    background, foregrounds = np.zeros((1, 2, 2, 4), np.float32), np.ones((3, 1, 2, 2, 4), np.float32)
    with pytest.raises(jaxtyping.TypeCheckError, match="typechecking parameter 'background'"):
        fuse(background.astype(np.uint8), foregrounds, foregrounds[..., :1])
