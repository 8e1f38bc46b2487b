"""A trained diffusion model goes over to another autoencoder's latents.

Its first convolution reads the old latents, its last one writes them. Old and new latents on one grid are, to a good part, linear maps of
each other: fitted by least squares, the maps go into those two kernels. Everything else stays as it was trained, and training goes on from
what the model knows.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.model import Model
from train.autoencoder import encode_mean
from train.stage import Params

NETWORKS = ("unet", "text_encoder", "layer_assign")


def carry_over(model: Model, config: DreamLayerConfig, vae: Params, tokenizer: Any, rgb: UInt8[np.ndarray, "n H W 3"]) -> Params:
    """The diffusion model of `model` for the latents of `config` and `vae`; the maps are fitted on the pictures `rgb`.

    Raises ValueError where the two differ in more than their latents: other words, another grid, other networks.
    """
    if model.tokenizer.get_vocab() != tokenizer.get_vocab():
        raise ValueError("the model to start from has another vocabulary: start from one that was trained on the same world")
    old, new = (
        np.concatenate([np.asarray(encode_mean(c, v, rgb[n : n + 64])) for n in range(0, len(rgb), 64)]) * c.vae.scaling_factor
        for c, v in ((model.config, model.params["vae"]), (config, vae))
    )
    if old.shape[:3] != new.shape[:3]:
        raise ValueError(f"latents of the model to start from lie on a grid of {old.shape[1:3]}, the new ones on {new.shape[1:3]}")
    to_old, to_new = _linear_map(new, old), _linear_map(old, new)
    unet = model.params["unet"]
    carried = {name: model.params[name] for name in NETWORKS}
    carried["unet"] = unet | {
        "conv_in": unet["conv_in"] | {"kernel": jnp.einsum("ij,hwjo->hwio", to_old, unet["conv_in"]["kernel"])},
        "conv_out": {
            "kernel": jnp.einsum("hwij,jo->hwio", unet["conv_out"]["kernel"], to_new),
            "bias": unet["conv_out"]["bias"] @ to_new,
        },
    }
    return carried


def _linear_map(given: Float[np.ndarray, "n h w c"], wanted: Float[np.ndarray, "n h w d"]) -> Float[np.ndarray, "c d"]:
    """Least squares without a constant: grey is zero in both."""
    return np.linalg.lstsq(given.reshape(-1, given.shape[-1]), wanted.reshape(-1, wanted.shape[-1]), rcond=None)[0]
