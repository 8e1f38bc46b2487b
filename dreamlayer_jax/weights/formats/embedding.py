"""Textual inversion: a word with embeddings of its own, in one safetensors file.

The tokenizer learns the word as one token, and `word_1`, `word_2`, … for the vectors after the first, as diffusers names them: a saved
model still knows it, here and there. `prompts.token_ids` makes all of its tokens out of the word.
"""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.weights.files.causes import ONLY_SD1
from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.files.tensor_files import TensorFiles, load_safetensors

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

NAMELESS = "emb_params"  # what A1111 and kohya call the tensor; the word is then the file's name
OF_SDXL = {"clip_l", "clip_g"}
SD2_WIDTH = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Embedding:
    """A word and the vectors that stand for it, opened: the vectors are read by `vectors`."""

    file: Path
    word: str
    count: int
    key: str
    tensors: TensorFiles

    def vectors(self) -> np.ndarray:
        """(count, width), float32."""
        return self.tensors[self.key].astype(np.float32).reshape(self.count, -1)


def open_embedding(file: Path, config: DreamLayerConfig, word: str | None = None) -> Embedding:
    """Opens a textual inversion for the text tower of `config`.

    Args:
        file: `.safetensors` with one tensor, (width,) or (n, width).
        config: the model's.
        word: what prompts call it; by default the tensor's name, or the file's where that is `emb_params`.

    Raises:
        WeightsError: a pickle, a damaged file, or one that is no textual inversion of this model.
    """
    tensors = load_safetensors(file)
    keys = list(tensors)
    width = config.text.hidden_size
    if set(keys) >= OF_SDXL:
        raise WeightsError(f"the embedding {file} is one for Stable Diffusion XL (clip_l and clip_g); {ONLY_SD1}")
    if len(keys) != 1:
        listed = ", ".join(keys[:8]) + (", …" if len(keys) > 8 else "")
        raise WeightsError(f"the embedding {file} has {len(keys)} tensors ({listed}); a textual inversion has one, (n, {width})")
    shape = tensors.shape(keys[0])
    if len(shape) not in (1, 2) or shape[-1] != width or 0 in shape:
        other = f": it is one for Stable Diffusion 2.x; {ONLY_SD1}" if shape[-1:] == (SD2_WIDTH,) else ""
        raise WeightsError(f"the embedding {file} is {shape}; expected ({width},) or (n, {width}){other}")
    count = 1 if len(shape) == 1 else shape[0]
    longest = config.text.max_position_embeddings - 2
    if count > longest:
        raise WeightsError(f"the embedding {file} has {count} vectors; the text tower reads prompts of {longest} tokens")
    word = word or (file.stem if keys[0] == NAMELESS else keys[0])
    if not word or any(letter.isspace() for letter in word):
        raise WeightsError(f"the embedding {file} would be the word {word!r}, which has blanks in it; give another as WORD={file}")
    return Embedding(file=file, word=word, count=count, key=keys[0], tensors=tensors)


def learn_word(
    embedding: Embedding, config: DreamLayerConfig, params: Params, tokenizer: CLIPTokenizer
) -> tuple[DreamLayerConfig, Params, CLIPTokenizer]:
    """The model that knows the word; what was given is left as it was.

    Raises `WeightsError` if the tokenizer has the word already.
    """
    from transformers import AddedToken

    word = embedding.word
    names = [word, *(f"{word}_{i}" for i in range(1, embedding.count))]
    if taken := _taken(tokenizer, names):
        raise WeightsError(f"the tokenizer has the word {taken!r} already; give the embedding another as WORD={embedding.file}")
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_tokens([AddedToken(name, single_word=True) for name in names])
    first = tokenizer.convert_tokens_to_ids(word)
    embeddings = params["text_encoder"]["text_model"]["embeddings"]
    table = embeddings["token_embedding"]["embedding"]
    grown = jnp.zeros((max(len(table), first + embedding.count), table.shape[1]), table.dtype).at[: len(table)].set(table)
    grown = grown.at[first : first + embedding.count].set(embedding.vectors())
    config = dataclasses.replace(config, text=dataclasses.replace(config.text, vocab_size=len(grown)))
    embeddings = embeddings | {"token_embedding": {"embedding": grown}}
    text_model = params["text_encoder"]["text_model"] | {"embeddings": embeddings}
    return config, params | {"text_encoder": params["text_encoder"] | {"text_model": text_model}}, tokenizer


def _taken(tokenizer: CLIPTokenizer, names: list[str]) -> str | None:
    """The word that stands in the way of the new tokens, if there is one: of the vocabulary, or one learned before."""
    vocabulary, learned = tokenizer.get_vocab(), {word.lower() for word in tokenizer.get_added_vocab()}
    base, _, number = names[0].lower().rpartition("_")
    if number.isdecimal() and base in learned:  # it would be taken for that word's next vector
        return base
    following = f"{names[0]}_{len(names)}"
    return next((name for name in (*names, following) if f"{name.lower()}</w>" in vocabulary or name.lower() in learned), None)
