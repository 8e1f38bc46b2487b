"""A DreamLayer model as a folder: what `DreamLayer.from_pretrained` reads and training writes.

config.json         every network's configuration
model.safetensors   all parameters; keys are "<network>.<diffusers key>", layouts are PyTorch's
tokenizer/          a CLIPTokenizer
vocabulary.json     names and words seen in training; only for models trained from scratch
README.md           the model card
manifest.json       format version, and the SHA-256 of every other file
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file
from transformers import CLIPTokenizer

from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.diffusion.predict import Params
from dreamlayer_jax.weights.config_json import read_config, write_config
from dreamlayer_jax.weights.convert import WeightsError, from_params, load_safetensors, to_params
from dreamlayer_jax.weights.init import param_shapes

FORMAT = 1


def save_pretrained(
    folder: Path,
    config: DreamLayerConfig,
    params: Params,
    tokenizer: Path,
    vocabulary: Mapping[str, list[str]] | None = None,
    card: str = "",
    dtype: Any = ml_dtypes.bfloat16,
) -> None:
    """Writes a model folder: first beside its place under a temporary name, then renamed.

    Args:
        folder: must not exist yet.
        config: the model's.
        params: all networks; stored in `dtype`.
        tokenizer: folder of a CLIPTokenizer's files.
        vocabulary: "backgrounds", "foregrounds" and "words".
        card: the model card, Markdown.
        dtype: of the stored parameters.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists; remove it or choose another folder")
    temporary = folder.with_name(folder.name + ".partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    write_config(config, temporary / "config.json")
    save_file({key: np.asarray(value).astype(dtype) for key, value in from_params(params).items()}, temporary / "model.safetensors")
    (temporary / "model.safetensors").chmod(0o644)
    shutil.copytree(tokenizer, temporary / "tokenizer")
    if vocabulary is not None:
        (temporary / "vocabulary.json").write_text(json.dumps(vocabulary, indent=1) + "\n", encoding="utf-8")
    (temporary / "README.md").write_text(card, encoding="utf-8")
    sums = {str(path.relative_to(temporary)): _sha256(path) for path in sorted(temporary.rglob("*")) if path.is_file()}
    (temporary / "manifest.json").write_text(json.dumps({"format": FORMAT, "sha256": sums}, indent=1) + "\n", encoding="utf-8")
    os.rename(temporary, folder)


def load_pretrained(folder: Path) -> tuple[DreamLayerConfig, Params, CLIPTokenizer]:
    """Configuration, float32 parameters and tokenizer of a model folder.

    Raises:
        WeightsError: a file is missing or differs from the manifest, the format is another, or keys do not fit the configuration.
    """
    _check_manifest(folder)
    try:
        config = read_config(folder / "config.json")
    except ValueError as error:
        raise WeightsError(f"{folder / 'config.json'} does not describe a model of this version: {error}") from error
    params = to_params(load_safetensors(folder / "model.safetensors"), param_shapes(config))
    return config, params, CLIPTokenizer.from_pretrained(folder / "tokenizer")


def _check_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version, sums = manifest["format"], manifest["sha256"].items()
    except FileNotFoundError as error:
        raise WeightsError(f"{folder} is not a DreamLayer model folder: it has no manifest.json") from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise WeightsError(f"{path} is damaged ({error!r}); copy the model again") from error
    if version != FORMAT:
        raise WeightsError(f"{folder} has format {version}; this version reads format {FORMAT}: update dreamlayer_jax")
    for name, expected in sums:
        if not (folder / name).is_file():
            raise WeightsError(f"{folder / name} is missing; copy the model again")
        if _sha256(folder / name) != expected:
            raise WeightsError(f"{folder / name} is damaged: its checksum is not the manifest's; copy the model again")


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
