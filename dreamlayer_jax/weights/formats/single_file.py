"""A single `.safetensors` file in the layout of Stable Diffusion's own training code, read into plain networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.models.layered import base_shapes
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.weights.files.causes import misplaced
from dreamlayer_jax.weights.files.convert import fit, read, require
from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.files.original_names import original_key, parameter_key
from dreamlayer_jax.weights.files.tensor_files import load_safetensors


def load_single_file(file: Path, config: DreamLayerConfig, put: Callable[[np.ndarray], Any] = jax.device_put) -> Params:
    """Float32 parameters of the plain networks, tensor by tensor. The file says nothing of its configuration: `config` must be its.

    Raises `WeightsError` for a damaged file, a pickle, another kind of model, and for all keys that are missing, left over or mis-shaped.
    """
    tensors = load_safetensors(file)
    if cause := misplaced(tensors):
        raise WeightsError(f"{file} is no whole model: {cause}")
    fitted = fit(tensors, base_shapes(config), spelled=lambda key: original_key(key, config), modern=parameter_key)
    require({file.name: fitted}, f"{file} is")
    return read(fitted, put=put)
