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

from dreamlayer_jax.config import DreamLayerConfig, LayerAttentionKind, PredictionType
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.weights.base import open_base
from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.formats.embedding import learn_word, open_embedding
from dreamlayer_jax.weights.formats.few_step import few_steps
from dreamlayer_jax.weights.formats.layer_attention import add_layer_attention
from dreamlayer_jax.weights.formats.layer_decoder_file import load_layer_decoder
from dreamlayer_jax.weights.formats.lora import merge_lora, open_lora
from dreamlayer_jax.weights.formats.trained import lay_over
from dreamlayer_jax.weights.formats.vae_file import load_vae
from dreamlayer_jax.weights.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from transformers import CLIPTokenizer


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
    inpainting: bool = False,
    on_warning: Callable[[str], None] = warnings.warn,
) -> tuple[DreamLayerConfig, Params, CLIPTokenizer]:
    """Configuration, float32 parameters on the default device, and tokenizer; arguments as in `DreamLayer.from_pretrained`.

    `inpainting`: an inpainting model will do, which fills holes and makes no layers.
    """
    base = open_base(path, config, prediction, without_vae=vae is not None, inpainting=inpainting)
    for doubt in base.doubts:
        on_warning(doubt)
    config, params = base.config, base.read()
    text = load_tokenizer(tokenizer or base.tokenizer, config)
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
