"""A diffusers folder of Stable Diffusion (`unet/ vae/ text_encoder/ tokenizer/ scheduler/`), read into plain networks and written back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.files import new_folder, require_free, write_json
from dreamlayer_jax.models.layered import BASE, base_shapes, is_added, select
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.weights.files.convert import Fit, fit, from_params, read, require
from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.files.pickles import is_pickle, pickle_message
from dreamlayer_jax.weights.files.tensor_files import load_safetensors, write_tensors
from dreamlayer_jax.weights.formats.diffusers_config import config_of_folder, folder_of_config

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

STEMS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
ENDINGS = (".safetensors", ".safetensors.index.json", ".fp16.safetensors", ".safetensors.index.fp16.json")  # the first there is


def is_diffusers_folder(folder: Path) -> bool:
    """Whether the folder has a pipeline's index or a UNet."""
    return (folder / "model_index.json").is_file() or (folder / "unet").is_dir()


def load_diffusers(folder: Path, name: str, put: Callable[[np.ndarray], Any] = jax.device_put) -> tuple[DreamLayerConfig, Params]:
    """Configuration and float32 parameters of the plain networks, tensor by tensor; raises what `open_diffusers` raises."""
    config, fits = open_diffusers(folder, name)
    return config, {network: read(fitted, put=put) for network, fitted in fits.items()}


def open_diffusers(folder: Path, name: str) -> tuple[DreamLayerConfig, dict[str, Fit]]:
    """Configuration, and how the files of the plain networks meet it; half-precision variants where there is nothing else. Reads no tensor.

    Raises `WeightsError` for everything that is missing, damaged or does not fit, of all three networks in one message.
    """
    config = config_of_folder(folder, name)
    expected = base_shapes(config)
    files = {network: _weights_file(folder / network, STEMS[network]) for network in BASE}
    fits = {str(file.relative_to(folder)): fit(load_safetensors(file), expected[network]) for network, file in files.items()}
    require(fits, f"the weights in {folder} are")
    return config, dict(zip(files, fits.values(), strict=True))


def _weights_file(folder: Path, stem: str) -> Path:
    for ending in ENDINGS:
        if (folder / (stem + ending)).is_file():
            return folder / (stem + ending)
    found = sorted(path for path in folder.glob("*") if path.is_file())
    for path in found:
        if is_pickle(path):
            raise WeightsError(f"{folder} has no {stem}.safetensors; {pickle_message(path)}")
    there = ", ".join(path.name for path in found) or "nothing"
    raise WeightsError(f"{folder} has no {stem}.safetensors, nor shards of it or its fp16 variant; there is {there}")


def export_diffusers(folder: Path, config: DreamLayerConfig, params: Params, tokenizer: CLIPTokenizer, dtype: Any = np.float32) -> None:
    """Writes the base of a model as a diffusers folder, which PyTorch's StableDiffusionPipeline loads; what DreamLayer added is left out.

    Args:
        folder: must not exist yet.
        config: the model's.
        params: "unet", "vae" and "text_encoder".
        tokenizer: the model's.
        dtype: of the stored parameters.

    Raises:
        FileExistsError: `folder` is there already.
        ValueError: diffusers has no such networks (pixel patches, rotary attention).
    """
    require_free(folder, listing=None)
    files = folder_of_config(config)
    files["text_encoder/config.json"] |= {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    with new_folder(folder, listing=None) as temporary:
        for name, tree in files.items():
            write_json(temporary / name, tree)
        tokenizer.save_pretrained(temporary / "tokenizer")
        for network in BASE:
            plain = select({network: params[network]}, lambda path: not is_added(path))[network]
            tensors = {key: tensor.astype(dtype) for key, tensor in from_params(plain).items()}
            write_tensors(temporary / network / f"{STEMS[network]}.safetensors", tensors, metadata={"format": "pt"})
