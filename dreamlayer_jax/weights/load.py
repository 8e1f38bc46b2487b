"""Any model from anywhere: what `DreamLayer.from_pretrained` does.

There is one order, in which each part finds what it is made for: the networks; what was trained; an autoencoder of its own; learned words;
LoRAs, on the base's kernels and every role's copy; LayerDiffusion's attention, whose changes are added to the kernels as they then are; the
layer decoder.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dreamlayer_jax.config import DreamLayerConfig, LayerAttentionKind, PredictionType, sd15
from dreamlayer_jax.models.layered import become_layered
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.files.pickles import is_pickle, pickle_message
from dreamlayer_jax.weights.formats.checkpoint_folder import WEIGHTS, load_pretrained, read_folder_config
from dreamlayer_jax.weights.formats.diffusers_folder import is_diffusers_folder, load_diffusers
from dreamlayer_jax.weights.formats.embedding import learn_word, open_embedding
from dreamlayer_jax.weights.formats.few_step import few_steps
from dreamlayer_jax.weights.formats.layer_attention import add_layer_attention
from dreamlayer_jax.weights.formats.layer_decoder_file import load_layer_decoder
from dreamlayer_jax.weights.formats.lora import merge_lora, open_lora
from dreamlayer_jax.weights.formats.manifest import MANIFEST
from dreamlayer_jax.weights.formats.orbax_folder import beside, load_orbax, orbax_checkpoint
from dreamlayer_jax.weights.formats.single_file import open_single_file
from dreamlayer_jax.weights.formats.trained import lay_over
from dreamlayer_jax.weights.formats.vae_file import load_vae
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
    vae: Path | None = None,
    embeddings: Sequence[tuple[Path, str | None]] = (),
    loras: Sequence[tuple[Path, float]] = (),
    layer_attention: tuple[Path, LayerAttentionKind | None] | None = None,
    prediction: PredictionType | None = None,
    config: DreamLayerConfig | None = None,
    on_warning: Callable[[str], None] = warnings.warn,
) -> tuple[DreamLayerConfig, Params, CLIPTokenizer]:
    """Configuration, float32 parameters on the default device, and tokenizer; arguments as in `DreamLayer.from_pretrained`."""
    if path.is_file():
        config, params = _load_single_file(path, config, vae, prediction, on_warning)
        own_tokenizer: str | Path = CLIP
    elif prediction is not None:
        raise WeightsError(f"{path} says itself what its UNet predicts; leave --prediction (prediction=) out, which is for single files")
    else:
        config, params, own_tokenizer = _load_folder(path, config)
    text = load_tokenizer(tokenizer or own_tokenizer, config)
    if trained is not None:
        config, params = lay_over(config, params, trained)
    if vae is not None:
        params["vae"] = load_vae(vae, config)
    for file, word in embeddings:
        config, params, text = learn_word(open_embedding(file, config, word), config, params, text)
    for file, strength in loras:
        config, params = add_lora(config, params, file, strength, on_warning)
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


def add_lora(
    config: DreamLayerConfig, params: Params, file: Path, strength: float, on_warning: Callable[[str], None]
) -> tuple[DreamLayerConfig, Params]:
    """The model with the LoRA merged in, and with its way of sampling if it is one for few steps; what was given stays as it was.

    Raises `WeightsError` for a file that is no LoRA of this model, or a strength that is no finite number.
    """
    if not math.isfinite(strength):
        raise WeightsError(f"the strength of the LoRA {file} is {strength}; give a finite number, such as 1")
    lora = open_lora(file, config)
    found, doubt = few_steps(lora, config)
    if doubt:
        on_warning(doubt)
    return found.of(config) if found else config, merge_lora(params, lora, strength)


def _load_single_file(
    path: Path, config: DreamLayerConfig | None, vae: Path | None, prediction: PredictionType | None, on_warning: Callable[[str], None]
) -> tuple[DreamLayerConfig, Params]:
    """The networks of a file; without an autoencoder if there is a `vae`."""
    config = dataclasses.replace(config or sd15(), name=model_name(path))
    opened = open_single_file(path, config, without_vae=vae is not None)
    if opened.prediction and prediction and opened.prediction != prediction:
        on_warning(f"{path} says that its UNet predicts {opened.prediction}; it is taken to predict {prediction}, as asked for")
    if opened.doubt and not prediction:
        on_warning(opened.doubt)
    if predicted := prediction or opened.prediction:
        config = dataclasses.replace(config, schedule=dataclasses.replace(config.schedule, prediction_type=predicted))
    return config, become_layered(config, opened.read())


def _load_folder(path: Path, config: DreamLayerConfig | None) -> tuple[DreamLayerConfig, Params, str | Path]:
    """Configuration, parameters, and where the tokenizer is if nobody says otherwise."""
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
