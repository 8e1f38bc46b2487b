"""From the clean latents of a layer batch to pictures: the autoencoder's decoder, and the layer decoder for foregrounds (paper §2)."""

from __future__ import annotations

from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.diffusion.predict import Params
from dreamlayer_jax.models.layer_decoder import LayerDecoder, ensemble, rgba_straight
from dreamlayer_jax.models.vae import AutoencoderKL


@flax.struct.dataclass
class DecodedLayers:
    """Pictures of a layer batch, floats in [0, 1]."""

    rgba_straight_01: Float[Array, "k b h w 4"]
    """Background (alpha 1), then foregrounds far to near."""
    global_rgb_01: Float[Array, "b h w 3"]


@partial(jax.jit, static_argnames=("config",))
def decode_latents(config: DreamLayerConfig, vae_params: Params, latent_scaled: Float[Array, "*n h w c"]) -> Float[Array, "*n H W 3"]:
    """`latent_scaled` to rgb_01, clipped."""
    flat = latent_scaled.reshape(-1, *latent_scaled.shape[-3:]) / config.vae.scaling_factor
    rgb_pm1 = AutoencoderKL(config.vae).apply({"params": vae_params}, flat, method="decode")
    rgb_01 = jnp.clip(rgb_pm1 * 0.5 + 0.5, 0.0, 1.0)
    return rgb_01.reshape(*latent_scaled.shape[:-3], *rgb_01.shape[1:])


@partial(jax.jit, static_argnames=("config", "ensembled"))
def decode_layers(config: DreamLayerConfig, params: Params, latents: Float[Array, "l b h w c"], ensembled: bool = False) -> DecodedLayers:
    """Decodes the layer batch `[background, foreground…, global]`.

    Args:
        params: "vae" and "layer_decoder".
        latents: `latent_scaled`.
        ensembled: LayerDiffusion's 8-fold ensemble for the foregrounds, eight times their cost.
    """
    rgb_01 = decode_latents(config, params["vae"], latents)
    foregrounds, b = latents.shape[0] - 2, latents.shape[1]
    decoder = partial(LayerDecoder(config.layer_decoder).apply, {"params": params["layer_decoder"]})
    rgb = rgb_01[1:-1].reshape(foregrounds * b, *rgb_01.shape[2:])
    latent = latents[1:-1].reshape(foregrounds * b, *latents.shape[2:]) / config.vae.scaling_factor
    alpha_rgb = ensemble(decoder, rgb, latent) if ensembled else decoder(rgb, latent)
    rgba = rgba_straight(jnp.clip(alpha_rgb, 0.0, 1.0)).reshape(foregrounds, b, *rgb_01.shape[2:4], 4)
    background = jnp.concatenate([rgb_01[:1], jnp.ones_like(rgb_01[:1, ..., :1])], axis=-1)
    return DecodedLayers(rgba_straight_01=jnp.concatenate([background, rgba]), global_rgb_01=rgb_01[-1])
