"""The tokenizer that belongs to a model."""

from __future__ import annotations

from pathlib import Path

from transformers import CLIPTokenizer

from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.weights.errors import WeightsError

CLIP = "openai/clip-vit-large-patch14"  # Stable Diffusion 1.5's, on the Hugging Face hub


def load_tokenizer(where: str | Path, config: DreamLayerConfig) -> CLIPTokenizer:
    """The tokenizer in a folder, or of a hub id. Raises `WeightsError` if it cannot be read or has more tokens than the text tower."""
    try:
        tokenizer = CLIPTokenizer.from_pretrained(where)
    except Exception as error:  # transformers and tokenizers raise many kinds, a bare Exception among them
        reason = " ".join(str(error).split())
        raise WeightsError(
            f"no tokenizer could be read from {where} ({reason}); give tokenizer, a folder with the vocab.json and merges.txt of CLIP "
            f"(tokenizer/ of any Stable Diffusion 1.5 folder), or, with a network, a hub id such as {CLIP}"
        ) from error
    if len(tokenizer) > config.text.vocab_size:
        raise WeightsError(
            f"the tokenizer {where} has {len(tokenizer)} tokens, and the text tower knows {config.text.vocab_size}; give the model's own"
        )
    return tokenizer
