"""Layers that are known already: their pixels as latents, among those that are to be made."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from dreamlayer_jax.compositing import from_uint8, over_grey
from dreamlayer_jax.diffusion.encode import encode_pictures
from dreamlayer_jax.diffusion.generate import KnownLatents
from dreamlayer_jax.model import Model
from dreamlayer_jax.request import RequestError, check_given_size

Given = Mapping[int, UInt8[np.ndarray, "h w 4"]]


def encode_layers_on_grey(model: Model, rgba: UInt8[np.ndarray, "n H W 4"]) -> Float[np.ndarray, "n h w c"]:
    """`latent_scaled` of layers pasted on mid-grey, as training had them (paper §2)."""
    pictures = jnp.asarray(over_grey(from_uint8(rgba)))
    return np.asarray(encode_pictures(model.config, model.params["vae"], pictures, model.place))


def known_latents(model: Model, given: Given, k: int, size: tuple[int, int]) -> KnownLatents:
    """Latents and mask of the given layers among k.

    Raises:
        RequestError: a number is no layer of the scene, or pixels are not of `size`, or a given background is not opaque.
    """
    for number, pixels in given.items():
        if not 0 <= number < k:
            raise RequestError(f"layer {number} is given; the scene has layers 0 to {k - 1}")
        check_given_size(f"given layer {number}", pixels, size)
        if number == 0 and not (pixels[..., 3] == 255).all():
            raise RequestError("the given background has transparent pixels; a background is opaque")
    numbers = sorted(given)
    latents = encode_layers_on_grey(model, np.stack([given[number] for number in numbers]))
    whole = np.zeros((k + 1, 1, *latents.shape[1:]), np.float32)
    mask = np.zeros((*whole.shape[:-1], 1), np.float32)
    whole[numbers, 0], mask[numbers] = latents, 1
    return KnownLatents(latents=jnp.asarray(whole), mask=jnp.asarray(mask))
