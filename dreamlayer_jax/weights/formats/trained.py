"""What DreamLayer trained (paper §2), without the base: about a tenth of a model, laid over the base again when it is loaded.

config.json           the whole model's configuration
trained.safetensors   both K/V sets of the UNet, context-aware layers, layer-assign embeddings; keys as in a model folder
manifest.json         format version, and the SHA-256 of the others
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.models.init import networks_of, param_shapes
from dreamlayer_jax.models.layered import is_trained, select
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.weights.files.convert import Fit, fit, from_params, read, require
from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.files.tensor_files import load_safetensors, write_tensors
from dreamlayer_jax.weights.formats.checkpoint_folder import read_folder_config
from dreamlayer_jax.weights.formats.config_json import write_config
from dreamlayer_jax.weights.formats.manifest import check_folder, checked_folder

KIND = "trained part"
WEIGHTS = "trained.safetensors"


def save_trained(folder: Path, config: DreamLayerConfig, params: Params, dtype: Any = np.float32) -> None:
    """Writes the trained parameters alone, in `dtype`. Raises FileExistsError if `folder` is there already."""
    with checked_folder(folder, KIND) as temporary:
        write_config(config, temporary / "config.json")
        tensors = from_params(select(params, is_trained))
        write_tensors(temporary / WEIGHTS, {key: tensor.astype(dtype) for key, tensor in tensors.items()})


def lay_over(
    config: DreamLayerConfig, params: Params, folder: Path, put: Callable[[np.ndarray], Any] = jax.device_put
) -> tuple[DreamLayerConfig, Params]:
    """The model with the trained parameters of `folder` in the place of its own, and with their layered configuration.

    Raises `WeightsError` if the folder is damaged, or was trained on a base of other shapes.
    """
    check_folder(folder, KIND)
    config, fitted = open_trained(config, folder)
    kept = {path: leaf for path, leaf in flatten_dict(params).items() if not is_trained(path)}
    return config, unflatten_dict(kept | flatten_dict(read(fitted, put=put)))


def open_trained(config: DreamLayerConfig, folder: Path) -> tuple[DreamLayerConfig, Fit]:
    """`config` with the layered configuration of `folder`, and how its parameters meet it; reads no tensor, so checks no sum.

    Raises `WeightsError` if it was trained on a base of other shapes.
    """
    trained = read_folder_config(folder)
    for part in ("unet", "text", "schedule"):
        if getattr(trained, part) != getattr(config, part):
            raise WeightsError(
                f"{folder} was trained on another base: its {part} is {getattr(trained, part)}, here it is {getattr(config, part)}"
            )
    config = dataclasses.replace(config, layered=trained.layered)
    networks = [name for name in networks_of(config) if name in ("unet", "layer_assign", "control")]
    shapes = flatten_dict(param_shapes(config, networks))
    fitted = fit(load_safetensors(folder / WEIGHTS), unflatten_dict({path: leaf for path, leaf in shapes.items() if is_trained(path)}))
    require({WEIGHTS: fitted}, f"the weights in {folder} are")
    return config, fitted
