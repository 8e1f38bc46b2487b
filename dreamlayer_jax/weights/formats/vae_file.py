"""A fine-tuned autoencoder in a file of its own, as `vae-ft-mse-840000-ema-pruned.safetensors`, in the place of the model's.

Three spellings: Stable Diffusion's original names, the same behind `first_stage_model.`, and diffusers'. The scaling factor stays the
model's: **the autoencoder of Stable Diffusion XL has the very same keys and shapes**, and nothing in a file tells it apart (its factor is
0.13025, and its pictures come out too pale or too strong).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.models.init import param_shapes
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.weights.files.convert import Fit, fit, read, require
from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.files.names import modern_key
from dreamlayer_jax.weights.files.original_names import VAE, original_key
from dreamlayer_jax.weights.files.tensor_files import load_safetensors, shape_of

NOT_A_PARAMETER = re.compile(r"(first_stage_model\.)?(loss|model_ema)\.")
WHOLE_MODEL = ("model.diffusion_model.", "cond_stage_model.")


def open_vae(file: Path, config: DreamLayerConfig) -> Fit:
    """Fits the file to the model's autoencoder; reads the header and no tensor.

    Raises `WeightsError` for a damaged file, a pickle, another kind of autoencoder, and for all keys that do not fit.
    """
    tensors = load_safetensors(file)
    if cause := _other_kind(tensors, config):
        raise WeightsError(f"the autoencoder {file} cannot be used: {cause}")
    fitted = fit_vae(tensors, config)
    require({file.name: fitted}, f"the autoencoder {file} is")
    return fitted


def load_vae(file: Path, config: DreamLayerConfig, put: Callable[[np.ndarray], Any] = jax.device_put) -> Params:
    """Float32 parameters of the autoencoder, tensor by tensor; raises what `open_vae` raises."""
    return read(open_vae(file, config), put=put)


def fit_vae(tensors: Mapping[str, np.ndarray], config: DreamLayerConfig) -> Fit:
    """How the keys of a file meet the model's autoencoder, in whichever of the three spellings it is."""
    expected = param_shapes(config, ("vae",))["vae"]
    if any(".down_blocks." in key or ".up_blocks." in key for key in tensors):
        return fit(tensors, expected, modern=_diffusers)
    return fit(tensors, expected, spelled=lambda key: original_key(f"vae.{key}", config), modern=_original)


def _original(key: str) -> str | None:
    return None if NOT_A_PARAMETER.match(key) else VAE + key.removeprefix(VAE)


def _diffusers(key: str) -> str | None:
    return None if NOT_A_PARAMETER.match(key) else modern_key(key.removeprefix(VAE))


def _other_kind(tensors: Mapping[str, np.ndarray], config: DreamLayerConfig) -> str | None:
    """What the file is, if it is known and no autoencoder of this model."""
    if any(key.startswith(WHOLE_MODEL) for key in tensors):
        return "it is a whole model; give it as --weights, or a file of the autoencoder alone"
    names = {key.removeprefix(VAE) for key in tensors}
    if any(name.startswith(("encoder.layers.", "decoder.layers.")) for name in names):
        return "it is TAESD, a small stand-in for an autoencoder; give the real one"
    if not any(name.startswith(("encoder.", "decoder.")) for name in names):
        return "it has no encoder and decoder"
    shapes = (shape_of(tensors, key) for key in tensors if key.endswith("decoder.conv_in.weight"))
    latent = next((shape[1] for shape in shapes if len(shape) == 4), None)
    if latent not in (None, config.vae.latent_channels):
        wanted = config.vae.latent_channels
        return f"its latents have {latent} channels, the model's {wanted} (Stable Diffusion 3's and Flux's have 16)"
    if "quant_conv.weight" not in names:
        return "it has no quant_conv: it is of Stable Diffusion 3, Flux or a later model"
    return None
