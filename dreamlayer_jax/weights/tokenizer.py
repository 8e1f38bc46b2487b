"""The tokenizer that belongs to a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.where import fetch

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

CLIP = "openai/clip-vit-large-patch14"  # Stable Diffusion 1.5's, on the Hugging Face hub
FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt")


def load_tokenizer(source: str | Path, config: DreamLayerConfig) -> CLIPTokenizer:
    """The tokenizer in a folder, or of a hub id. Raises `WeightsError` if it cannot be read or has more tokens than the text tower.

    Without its files transformers gives a tokenizer that knows no words, so they are looked for first.
    """
    from transformers import CLIPTokenizer  # seconds, which a program that only reads layers does not spend

    try:
        tokenizer = CLIPTokenizer.from_pretrained(find_tokenizer(source))
    except Exception as error:  # transformers and tokenizers raise many kinds, a bare Exception among them
        reason = " ".join(str(error).split())
        raise WeightsError(
            f"no tokenizer could be read from {source} ({reason}); give tokenizer, a folder with the vocab.json and merges.txt of CLIP "
            f"(tokenizer/ of any Stable Diffusion 1.5 folder), or, with a network, a hub id such as {CLIP}"
        ) from error
    if len(tokenizer) > config.text.vocab_size:
        raise WeightsError(
            f"the tokenizer {source} has {len(tokenizer)} tokens, and the text tower knows {config.text.vocab_size}; give the model's own"
        )
    return tokenizer


def find_tokenizer(source: str | Path, download: bool = True) -> Path:
    """The folder with a tokenizer's files: `source`, its tokenizer/, or that of the hub id, from the hub's cache alone without `download`.

    Raises `WeightsError` or FileNotFoundError if there is none.
    """
    files = (*FILES, *(f"tokenizer/{name}" for name in FILES))
    folder = Path(source) if Path(source).exists() else fetch(str(source), files, download=download)
    folder = folder / "tokenizer" if (folder / "tokenizer").is_dir() else folder
    if not (folder / "tokenizer.json").is_file() and not ((folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()):
        raise FileNotFoundError("it has neither tokenizer.json nor vocab.json with merges.txt")
    return folder
