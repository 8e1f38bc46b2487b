"""The probe's targets, and what its pictures go through."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.train_probe import augment, binomial, pixel_classes


def test_pixel_classes_take_the_nearest_object_with_alpha_over_half():
    rgba = np.zeros((2, 16, 16, 4), np.uint8)
    rgba[0, 0:4, 0:4, 3] = rgba[1, 2:6, 2:6, 3] = 255
    rgba[1, 2, 2, 3] = 127
    classes = pixel_classes(rgba, [0, 1], 3)
    assert [classes[0, 0], classes[2, 2], classes[3, 3], classes[5, 5], classes[9, 9]] == [0, 0, 1, 1, 3]


def test_a_pass_of_blur_has_half_a_pixels_variance_and_keeps_what_is_even():
    x = jnp.zeros((1, 9, 9, 1)).at[0, 4, 4, 0].set(1.0)
    along = np.asarray(binomial(x, 1))[0, :, 4, 0]
    assert along.sum() == 1
    assert (along * (np.arange(9) - 4) ** 2).sum() == 0.5
    np.testing.assert_allclose(binomial(jnp.full((1, 4, 4, 1), 0.3), 2), 0.3, rtol=1e-6)


def test_pictures_become_softer_by_different_amounts_and_stay_in_range():
    rows = jnp.tile(jnp.arange(16) % 2, (16, 1)).astype(jnp.float32)
    stripes = jnp.broadcast_to(rows[..., None], (32, 16, 16, 3))
    made = np.asarray(augment(stripes, jax.random.key(0)))
    contrast = made[:, :, 1::2].mean((1, 2, 3)) - made[:, :, ::2].mean((1, 2, 3))
    assert 0 <= made.min() <= made.max() <= 1
    assert contrast.min() < 0.1  # one whole pass takes the stripes away
    assert contrast.max() > 0.7
