"""From pictures to latents: the autoencoder's encoder (paper §2)."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Float

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.config import DreamLayerConfig, VAEConfig
from dreamlayer_jax.diffusion.by_picture import by_picture
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.models.vae import AutoencoderKL
from dreamlayer_jax.place import Place


def encode_pictures(
    config: DreamLayerConfig, vae_params: Params, rgb_01: Float[Array, "n H W 3"], place: Place = Place()
) -> Float[Array, "n h w c"]:
    """The mean `latent_scaled` of pictures in [0, 1], float32 at every place; sides must be multiples of `config.vae.downscale`."""
    return _encode(config.vae, vae_params, rgb_01, place)


@partial(jax.jit, static_argnames=("config", "place"))
def _encode(config: VAEConfig, params: Params, rgb_01: Array, place: Place) -> Array:
    def mean(rgb_01: Array) -> Array:
        return AutoencoderKL(config, place.dtype).apply({"params": params}, rgb_01 * 2 - 1, method="encode")[0].astype(jnp.float32)

    return by_picture(mean, rgb_01.shape[1] * rgb_01.shape[2], place, jnp.asarray(rgb_01)) * config.scaling_factor
