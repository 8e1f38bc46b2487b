"""A single `.safetensors` file in the layout of Stable Diffusion's own training code, read into plain networks."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dreamlayer_jax.config import DreamLayerConfig, PredictionType
from dreamlayer_jax.models.layered import base_shapes
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.weights.files.causes import likely_cause, misplaced
from dreamlayer_jax.weights.files.convert import Fit, fit, read, require
from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.files.original_names import TEXT, UNET, VAE, original_key, parameter_key
from dreamlayer_jax.weights.files.tensor_files import TensorFiles, load_safetensors, shape_of
from dreamlayer_jax.weights.formats.vae_file import fit_vae

PREDICTION = "modelspec.prediction_type"
PREDICTIONS: dict[str, PredictionType] = {"v": "v_prediction", "v_prediction": "v_prediction", "epsilon": "epsilon", "eps": "epsilon"}
NAMED_V = re.compile(r"v[-_. ]?(pred|param)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SingleFile:
    """A file that fits a configuration, opened: no tensor is read before `read`."""

    config: DreamLayerConfig
    """What was asked for; of an inpainting model with its inputs, which the file has."""
    fits: dict[str, Fit]
    """By network; without "vae" where the file has none."""
    prediction: PredictionType | None
    """What the UNet predicts, where the file says so."""
    doubt: str | None
    """What may be otherwise than it is taken to be."""

    def read(self, put: Callable[[np.ndarray], Any] = jax.device_put) -> Params:
        """Float32 parameters of the networks, tensor by tensor."""
        return {network: read(fitted, put=put) for network, fitted in self.fits.items()}


def open_single_file(file: Path, config: DreamLayerConfig, without_vae: bool = False) -> SingleFile:
    """Opens a file; reads its header and no tensor.

    Args:
        file: it says nothing of its configuration.
        config: of the networks in the file.
        without_vae: a file without an autoencoder will do, for there is another.

    Raises:
        WeightsError: a damaged file, a pickle, another kind of model, and all keys that are missing, left over or mis-shaped.
    """
    tensors = load_safetensors(file)
    cause = misplaced(tensors) or likely_cause(tensors)
    if cause is None:
        cause = _missing_network(tensors, without_vae)
    if cause:
        raise WeightsError(f"{file} cannot be used as a model: {cause}")
    config = _with_inputs(config, tensors)
    expected = base_shapes(config)
    fits = {}
    for network, prefix in (("unet", UNET), ("text_encoder", TEXT)):
        fits[network] = fit(
            tensors.only(lambda key, prefix=prefix: key.startswith(prefix)),
            expected[network],
            spelled=lambda key, network=network: original_key(f"{network}.{key}", config),
            modern=parameter_key,
        )
    vae = tensors.only(lambda key: key.startswith(VAE))
    if len(vae) or not without_vae:
        fits["vae"] = fit_vae(vae, config)
    beside = tensors.only(lambda key: not key.startswith((UNET, TEXT, VAE)))
    unused = tuple(sorted(key for key in beside if parameter_key(key) is not None))
    whole = Fit(
        tensors=tensors,
        taken={},
        shapes={},
        missing=tuple(key for one in fits.values() for key in one.missing),
        unused=tuple(sorted((*(key for one in fits.values() for key in one.unused), *unused))),
        misshaped=tuple(key for one in fits.values() for key in one.misshaped),
    )
    require({file.name: whole}, f"{file} is")
    prediction = _prediction(file, tensors)
    doubt = None
    if prediction is None and NAMED_V.search(file.stem):
        doubt = (
            f"the name of {file.name} speaks of v-prediction, and nothing in the file says what it predicts: it is taken to predict the "
            "noise. If its pictures are blotches of colour, give --prediction v"
        )
    return SingleFile(config=config, fits=fits, prediction=prediction, doubt=doubt)


def _with_inputs(config: DreamLayerConfig, tensors: TensorFiles) -> DreamLayerConfig:
    """The configuration as an inpainting model's, if the file is one."""
    first = original_key("unet.conv_in.weight", config)
    inpainting = dataclasses.replace(config.unet, in_channels=2 * config.unet.out_channels + 1)
    if first in tensors and shape_of(tensors, first)[1:2] == (inpainting.in_channels,):
        return dataclasses.replace(config, unet=inpainting)
    return config


def _missing_network(tensors: TensorFiles, without_vae: bool) -> str | None:
    """What is wrong with a file that has not all networks, if it has any of them."""
    has_unet, has_vae, has_text = (any(key.startswith(prefix) for key in tensors) for prefix in (UNET, VAE, TEXT))
    if has_unet and has_text and not has_vae and not without_vae:
        return "it has no autoencoder; give one beside it, such as vae-ft-mse-840000-ema-pruned.safetensors: --vae FILE, or vae=…"
    if has_unet and not has_text:
        return f"it is a UNet {'and an autoencoder ' if has_vae else ''}without a text encoder; give the whole model"
    if has_vae and not has_unet and not has_text:
        return "it is an autoencoder alone; give it as --vae, or from_pretrained(vae=…), beside a model"
    return None


def _prediction(file: Path, tensors: TensorFiles) -> PredictionType | None:
    """By the tensors `v_pred` and `ztsnr`, which some trainers leave as marks, or by Stability's metadata."""
    if "ztsnr" in tensors:
        raise WeightsError(
            f"{file} cannot be used: it is marked as trained with a schedule that ends in pure noise (zero terminal SNR), which is not here"
        )
    if "v_pred" in tensors:
        return "v_prediction"
    return PREDICTIONS.get(tensors.metadata.get(PREDICTION, "").lower())
