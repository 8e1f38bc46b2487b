"""Any model from anywhere: what `DreamLayer.from_pretrained` does."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from dreamlayer_jax.config import DreamLayerConfig, LayerAttentionKind, sd15
from dreamlayer_jax.models.layered import become_layered
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.files.pickles import is_pickle, pickle_message
from dreamlayer_jax.weights.formats.checkpoint_folder import WEIGHTS, load_pretrained, read_folder_config
from dreamlayer_jax.weights.formats.diffusers_folder import is_diffusers_folder, load_diffusers
from dreamlayer_jax.weights.formats.layer_attention import add_layer_attention
from dreamlayer_jax.weights.formats.layer_decoder_file import load_layer_decoder
from dreamlayer_jax.weights.formats.manifest import MANIFEST
from dreamlayer_jax.weights.formats.orbax_folder import beside, load_orbax, orbax_checkpoint
from dreamlayer_jax.weights.formats.single_file import load_single_file
from dreamlayer_jax.weights.formats.trained import lay_over
from dreamlayer_jax.weights.tokenizer import CLIP, load_tokenizer
from dreamlayer_jax.weights.where import model_name

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

KINDS = "a DreamLayer folder, a diffusers folder, an Orbax checkpoint with its config.json, or a single .safetensors file"


def load_model(
    path: Path,
    *,
    layer_decoder: Path | None = None,
    tokenizer: str | Path | None = None,
    trained: Path | None = None,
    layer_attention: tuple[Path, LayerAttentionKind | None] | None = None,
    config: DreamLayerConfig | None = None,
) -> tuple[DreamLayerConfig, Params, CLIPTokenizer]:
    """Configuration, float32 parameters on the default device, and tokenizer; arguments as in `DreamLayer.from_pretrained`."""
    config, params, own_tokenizer = _load_networks(path, config)
    text = load_tokenizer(tokenizer or own_tokenizer, config)
    if trained is not None:
        config, params = lay_over(config, params, trained)
    if layer_attention is not None:
        config, params = add_layer_attention(config, params, *layer_attention)
    if layer_decoder is not None:
        decoder_config, params["layer_decoder"] = load_layer_decoder(layer_decoder)
        if decoder_config.latent_channels != config.vae.latent_channels:
            raise WeightsError(
                f"the layer decoder {layer_decoder} takes latents of {decoder_config.latent_channels} channels; "
                f"the autoencoder makes {config.vae.latent_channels}"
            )
        config = dataclasses.replace(config, layer_decoder=decoder_config)
    return config, params, text


def _load_networks(path: Path, config: DreamLayerConfig | None) -> tuple[DreamLayerConfig, Params, str | Path]:
    """Configuration, parameters, and where the tokenizer is if nobody says otherwise."""
    if path.is_file():
        config = dataclasses.replace(config or sd15(), name=model_name(path))
        return config, become_layered(config, load_single_file(path, config)), CLIP
    if (path / MANIFEST).is_file() or (path / WEIGHTS).is_file():
        return *load_pretrained(path), path / "tokenizer"
    if is_diffusers_folder(path):
        config, base = load_diffusers(path, model_name(path))
        return config, become_layered(config, base), path / "tokenizer"
    if checkpoint := orbax_checkpoint(path):
        described = beside(checkpoint, path, "config.json")
        if described is None and config is None:
            raise WeightsError(f"the Orbax checkpoint {checkpoint} has no config.json in it or beside it; give config")
        config = read_folder_config(described.parent) if described else config
        return config, load_orbax(checkpoint, config), beside(checkpoint, path, "tokenizer") or CLIP
    found = sorted(path.iterdir())
    for entry in found:
        if entry.is_file() and is_pickle(entry):
            raise WeightsError(pickle_message(entry))
    held = ", ".join(entry.name for entry in found[:8]) if found else "nothing: it is empty"
    raise WeightsError(f"{path} is no model; it holds {held}. Give {KINDS}")
