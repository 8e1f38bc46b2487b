"""Rotary places: scores depend on offsets only, and nothing else about attention changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamlayer_jax.attention.rotary import rotate_by_place
from dreamlayer_jax.config import UNetConfig


def scores(q, k, height, width):
    """Every pair of places of a grid, for one query and one key that stand everywhere."""
    spread = [jnp.broadcast_to(x, (1, height * width, 1, x.shape[-1])) for x in (q, k)]
    q, k = (rotate_by_place(x, height, width) for x in spread)
    return np.asarray(jnp.einsum("b t n d, b s n d -> t s", q, k)).reshape(height, width, height, width)


def test_scores_depend_on_the_offset_alone():
    q, k = jax.random.normal(jax.random.key(0), (2, 8))
    found = scores(q, k, 4, 5)
    np.testing.assert_allclose(found[1, 1, 2, 3], found[2, 2, 3, 4], rtol=1e-5)
    np.testing.assert_allclose(found[0, 3, 2, 0], found[1, 4, 3, 1], rtol=1e-5)


def test_rows_and_columns_differ():
    q, k = jax.random.normal(jax.random.key(1), (2, 8))
    found = scores(q, k, 3, 3)
    assert abs(found[0, 0, 0, 2] - found[0, 0, 2, 0]) > 1e-3


def test_lengths_are_kept():
    x = jax.random.normal(jax.random.key(2), (2, 12, 3, 16))
    turned = rotate_by_place(x, 3, 4)
    np.testing.assert_allclose(jnp.linalg.norm(turned, axis=-1), jnp.linalg.norm(x, axis=-1), rtol=1e-5)
    assert not np.allclose(turned, x)


def test_a_head_must_divide_in_fours():
    with pytest.raises(ValueError, match="fours"):
        UNetConfig(block_out_channels=(24,), cross_attention=(True,), num_attention_heads=4, norm_num_groups=8, rotary=True)
