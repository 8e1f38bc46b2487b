"""From pictures to latents: the autoencoder's encoder (paper §2)."""

from __future__ import annotations

from functools import partial

import jax
from jaxtyping import Array, Float

from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.models.vae import AutoencoderKL


@partial(jax.jit, static_argnames=("config",))
def encode_pictures(config: DreamLayerConfig, vae_params: Params, rgb_01: Float[Array, "n H W 3"]) -> Float[Array, "n h w c"]:
    """The mean `latent_scaled` of pictures in [0, 1]; sides must be multiples of `config.vae.downscale`."""
    mean, _ = AutoencoderKL(config.vae).apply({"params": vae_params}, rgb_01 * 2 - 1, method="encode")
    return mean * config.vae.scaling_factor
