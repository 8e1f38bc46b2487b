"""From the clean latents of a layer batch to pictures: the autoencoder's decoder, and the layer decoder for foregrounds (paper §2)."""

from __future__ import annotations

from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Float

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.config import DreamLayerConfig, LayerDecoderConfig, VAEConfig
from dreamlayer_jax.diffusion.by_picture import by_picture
from dreamlayer_jax.models.layer_decoder import LayerDecoder, ensemble, rgba_straight
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.models.vae import AutoencoderKL
from dreamlayer_jax.place import Place


@flax.struct.dataclass
class DecodedLayers:
    """Pictures of a layer batch, floats in [0, 1]."""

    rgba_straight_01: Float[Array, "k b h w 4"]
    """Background (alpha 1), then foregrounds far to near."""
    global_rgb_01: Float[Array, "b h w 3"]


def decode_latents(
    config: DreamLayerConfig, vae_params: Params, latent_scaled: Float[Array, "*n h w c"], place: Place = Place()
) -> Float[Array, "*n H W 3"]:
    """`latent_scaled` to rgb_01, clipped; float32 at every place."""
    return _decode(config.vae, vae_params, latent_scaled, place)


@partial(jax.jit, static_argnames=("config", "place"))
def _decode(config: VAEConfig, params: Params, latent_scaled: Array, place: Place) -> Array:
    flat = latent_scaled.reshape(-1, *latent_scaled.shape[-3:]) / config.scaling_factor
    vae = partial(AutoencoderKL(config, place.dtype).apply, {"params": params}, method="decode")
    rgb_pm1 = by_picture(vae, config.downscale**2 * flat.shape[1] * flat.shape[2], place, flat).astype(jnp.float32)
    rgb_01 = jnp.clip(rgb_pm1 * 0.5 + 0.5, 0.0, 1.0)
    return rgb_01.reshape(*latent_scaled.shape[:-3], *rgb_01.shape[1:])


def decode_foregrounds(
    config: DreamLayerConfig, params: Params, latent_scaled: Float[Array, "n h w c"], ensembled: bool = False, place: Place = Place()
) -> Float[Array, "n H W 4"]:
    """Foregrounds as straight RGBA in [0, 1]; `params` are "vae" and "layer_decoder".

    `ensembled`: LayerDiffusion's 8-fold ensemble, eight times the cost.
    """
    return _transparent(config, params, latent_scaled, decode_latents(config, params["vae"], latent_scaled, place), ensembled, place)


def _transparent(
    config: DreamLayerConfig,
    params: Params,
    latent_scaled: Float[Array, "n h w c"],
    rgb_01: Float[Array, "n H W 3"],
    ensembled: bool,
    place: Place,
) -> Float[Array, "n H W 4"]:
    return _decode_alpha(config.layer_decoder, params["layer_decoder"], rgb_01, latent_scaled / config.vae.scaling_factor, ensembled, place)


@partial(jax.jit, static_argnames=("config", "ensembled", "place"))
def _decode_alpha(config: LayerDecoderConfig, params: Params, rgb_01: Array, latent: Array, ensembled: bool, place: Place) -> Array:
    decoder = partial(LayerDecoder(config, place.dtype).apply, {"params": params})
    network = partial(ensemble, decoder) if ensembled else decoder
    alpha_rgb = by_picture(network, rgb_01.shape[1] * rgb_01.shape[2], place, rgb_01, latent).astype(jnp.float32)
    return rgba_straight(jnp.clip(alpha_rgb, 0.0, 1.0))


def decode_layers(
    config: DreamLayerConfig, params: Params, latents: Float[Array, "l b h w c"], ensembled: bool = False, place: Place = Place()
) -> DecodedLayers:
    """Decodes the layer batch `[background, foreground…, global]`, `latent_scaled`; the rest as in `decode_foregrounds`."""
    rgb_01 = decode_latents(config, params["vae"], latents, place)
    latent, over_grey = (x[1:-1].reshape(-1, *x.shape[2:]) for x in (latents, rgb_01))
    rgba = _transparent(config, params, latent, over_grey, ensembled, place).reshape(*rgb_01[1:-1].shape[:-1], 4)
    opaque = jnp.concatenate([rgb_01[:1], jnp.ones_like(rgb_01[:1, ..., :1])], axis=-1)
    return DecodedLayers(rgba_straight_01=jnp.concatenate([opaque, rgba]), global_rgb_01=rgb_01[-1])
