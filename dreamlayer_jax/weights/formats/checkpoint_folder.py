"""A DreamLayer model as a folder: what `DreamLayer.from_pretrained` reads and training writes.

config.json         every network's configuration
model.safetensors   all parameters; keys are "<network>.<diffusers key>", layouts are PyTorch's; the layer decoder may be absent
tokenizer/          a CLIPTokenizer
vocabulary.json     names and words seen in training; only for models trained from scratch
README.md           the model card
manifest.json       format version, and the SHA-256 of every other file
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import ml_dtypes
import numpy as np

from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.files import write_json
from dreamlayer_jax.models.init import networks_of, param_shapes
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.weights.files.convert import Fit, fit, from_params, load_safetensors, read, require
from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.files.tensor_files import write_tensors
from dreamlayer_jax.weights.formats.config_json import read_config, write_config
from dreamlayer_jax.weights.formats.manifest import check_folder, checked_folder, listed_sums

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

KIND = "model"
WEIGHTS = "model.safetensors"


def save_pretrained(
    folder: Path,
    config: DreamLayerConfig,
    params: Params,
    tokenizer: Path | CLIPTokenizer,
    vocabulary: Mapping[str, list[str]] | None = None,
    card: str = "",
    dtype: Any = ml_dtypes.bfloat16,
) -> None:
    """Writes a model folder: whole or not at all.

    Args:
        folder: must not exist yet.
        config: the model's.
        params: all networks, with or without "layer_decoder"; stored in `dtype`.
        tokenizer: the model's, or the folder of its files.
        vocabulary: "backgrounds", "foregrounds" and "words".
        card: the model card, Markdown.
        dtype: of the stored parameters.
    """
    with checked_folder(folder, KIND) as temporary:
        write_config(config, temporary / "config.json")
        write_tensors(temporary / WEIGHTS, {key: np.asarray(value).astype(dtype) for key, value in from_params(params).items()})
        if isinstance(tokenizer, Path):
            shutil.copytree(tokenizer, temporary / "tokenizer")
        else:
            tokenizer.save_pretrained(temporary / "tokenizer")
        if vocabulary is not None:
            write_json(temporary / "vocabulary.json", vocabulary, indent=1)
        (temporary / "README.md").write_text(card, encoding="utf-8")


def load_pretrained(folder: Path, put: Callable[[np.ndarray], Any] = jax.device_put) -> tuple[DreamLayerConfig, Params]:
    """Configuration and float32 parameters of a model folder, tensor by tensor.

    Raises:
        WeightsError: a file is missing or differs from the manifest, the format is another, or keys do not fit the configuration.
    """
    check_folder(folder, KIND)
    config, fitted = open_pretrained(folder)
    return config, read(fitted, put=put)


def open_pretrained(folder: Path) -> tuple[DreamLayerConfig, Fit]:
    """Configuration of a model folder, and how its parameters meet it; reads no tensor, so checks no sum. Raises `WeightsError`."""
    listed_sums(folder, KIND)
    config = read_folder_config(folder)
    tensors = load_safetensors(folder / WEIGHTS)
    networks = [name for name in networks_of(config) if name != "layer_decoder" or any(key.startswith("layer_decoder.") for key in tensors)]
    fitted = fit(tensors, param_shapes(config, networks))
    require({WEIGHTS: fitted}, f"the weights in {folder} are")
    return config, fitted


def read_folder_config(folder: Path) -> DreamLayerConfig:
    """The configuration in a folder's config.json. Raises `WeightsError` if it is missing or of another version."""
    try:
        return read_config(folder / "config.json")
    except FileNotFoundError as error:
        raise WeightsError(f"{folder} has no config.json") from error
    except ValueError as error:
        raise WeightsError(f"{folder / 'config.json'} does not describe a model of this version: {error}") from error
