"""LayerDiffusion's layer decoder in a file of its own: `layer_sd15_vae_transparent_decoder.safetensors`, or one of the same family."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dreamlayer_jax.config import LayerDecoderConfig
from dreamlayer_jax.models.layer_decoder import LATENT_BLOCK, LayerDecoder
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.weights.files.causes import likely_cause
from dreamlayer_jax.weights.files.convert import Fit, fit, read, require
from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.files.tensor_files import load_safetensors, shape_of


def load_layer_decoder(file: Path, put: Callable[[np.ndarray], Any] = jax.device_put) -> tuple[LayerDecoderConfig, Params]:
    """Configuration, as the shapes say it, and float32 parameters; raises what `open_layer_decoder` raises."""
    config, fitted = open_layer_decoder(file)
    return config, read(fitted, put=put)


def open_layer_decoder(file: Path) -> tuple[LayerDecoderConfig, Fit]:
    """Configuration, as the shapes say it, and how the file's keys meet it; reads no tensor.

    Raises `WeightsError` for a damaged file, a pickle, a file of something else, and for all keys that are missing or left over.
    """
    tensors = load_safetensors(file)
    config = _config(file, tensors)
    side = 2 ** max(LATENT_BLOCK, len(config.block_out_channels) - 1)
    picture = jax.ShapeDtypeStruct((1, side, side, config.in_channels), np.float32)
    latent = jax.ShapeDtypeStruct((1, side >> LATENT_BLOCK, side >> LATENT_BLOCK, config.latent_channels), np.float32)
    fitted = fit(tensors, jax.eval_shape(LayerDecoder(config).init, jax.random.key(0), picture, latent)["params"])
    require({file.name: fitted}, f"the layer decoder {file} is")
    return config, fitted


def _config(file: Path, tensors: Mapping[str, np.ndarray]) -> LayerDecoderConfig:
    """Head size and groups leave no trace in the shapes: they are the published ones."""

    def numbers(pattern: str) -> set[int]:
        return {int(found[1]) for key in tensors if (found := re.match(pattern, key))}

    blocks, layers = numbers(r"down_blocks\.(\d+)\."), numbers(r"down_blocks\.0\.resnets\.(\d+)\.")
    needed = ["latent_conv_in.weight", "conv_in.weight", "conv_out.weight", *(f"down_blocks.{i}.resnets.0.conv1.weight" for i in blocks)]
    absent = [key for key in needed if key not in tensors]
    if absent or len(blocks) <= LATENT_BLOCK:
        cause = likely_cause(tensors) or "it is something else, or not whole"
        raise WeightsError(f"{file} is not a layer decoder of LayerDiffusion, which has {', '.join(absent) or 'more blocks'}: {cause}")
    attended = numbers(r"down_blocks\.(\d+)\.attentions\.")
    return LayerDecoderConfig(
        in_channels=shape_of(tensors, "conv_in.weight")[1],
        out_channels=shape_of(tensors, "conv_out.weight")[0],
        latent_channels=shape_of(tensors, "latent_conv_in.weight")[1],
        block_out_channels=tuple(shape_of(tensors, f"down_blocks.{i}.resnets.0.conv1.weight")[0] for i in sorted(blocks)),
        attention=tuple(i in attended for i in sorted(blocks)),
        layers_per_block=len(layers),
    )
