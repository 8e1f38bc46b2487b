"""Laws of the layer decoder and its ensemble that need no reference."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamlayer_jax.config import LayerDecoderConfig
from dreamlayer_jax.models.layer_decoder import LayerDecoder, ensemble, rgba_straight

CONFIG = LayerDecoderConfig(block_out_channels=(4, 4, 8, 8), attention=(False,) * 4, layers_per_block=1, norm_num_groups=2)


def shapes(config, picture, latent):
    return jax.eval_shape(LayerDecoder(config).init, jax.random.key(0), jnp.zeros(picture), jnp.zeros(latent))


def test_rgba_puts_alpha_last_and_clips():
    np.testing.assert_allclose(rgba_straight(jnp.array([[[2.0, 0.1, -1.0, 0.3]]])), [[[0.1, 0.0, 0.3, 1.0]]])


@pytest.mark.parametrize("sides", [(8, 8), (8, 16)])
def test_the_ensemble_of_a_network_that_does_not_mind_turning_is_the_network(sides):
    picture = jax.random.uniform(jax.random.key(0), (2, *sides, 3), minval=-0.5, maxval=1.5)
    latent = jnp.zeros((2, sides[0] // 8, sides[1] // 8, 4))

    def decode(rgb_01, latent):
        return jnp.concatenate([rgb_01[..., :1], rgb_01], axis=-1)

    np.testing.assert_array_equal(ensemble(decode, picture, latent), jnp.clip(decode(picture, latent), 0, 1))


def test_the_ensemble_takes_the_fourth_smallest():
    """Every view sees another value of the picture in its first corner, or one of four; the median of those is not their mean."""
    corners = jnp.zeros((1, 8, 8, 3)).at[0, 0, 0].set(0.1).at[0, 0, 7].set(0.2).at[0, 7, 7].set(0.9).at[0, 7, 0].set(0.8)

    def decode(rgb_01, latent):
        return jnp.broadcast_to(rgb_01[:, :1, :1, :1], (*rgb_01.shape[:3], 4))

    np.testing.assert_allclose(ensemble(decode, corners, jnp.zeros((1, 1, 1, 4))), 0.2)


@pytest.mark.parametrize(
    ("config", "picture", "latent", "message"),
    [
        (CONFIG, (1, 16, 20, 3), (1, 2, 2, 4), "16x20 pixels; both sides must be multiples of 8"),
        (CONFIG, (1, 16, 16, 3), (1, 4, 4, 4), r"latent of \(4, 4\).*must be \(2, 2\)"),
    ],
)
def test_what_does_not_fit_is_refused(config, picture, latent, message):
    with pytest.raises(ValueError, match=message):
        shapes(config, picture, latent)


@pytest.mark.parametrize(("attention", "message"), [((False,), "1 entries for 4 blocks"), ((True,) * 4, "4 channels.* 8")])
def test_a_configuration_that_does_not_hold_together_is_refused(attention, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, attention=attention)
