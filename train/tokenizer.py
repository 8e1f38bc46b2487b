"""The pocket model's vocabulary for transformers' CLIPTokenizer: a word of the captions is one token, anything else falls back to bytes.

CLIP's byte-level BPE: 256 byte symbols, the same with the end-of-word mark, then one token a merge, then the two special tokens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from dreamlayer_jax.files import write_text

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
FILES = ("vocab.json", "merges.txt", "tokenizer_config.json")


def words_of(captions: Iterable[str]) -> list[str]:
    """The distinct words, lower case, sorted, cut as CLIP cuts them (runs of letters, single digits, runs of other signs)."""
    return sorted({word for caption in captions for word in re.findall(r"[^\W\d_]+|\d|[^\s\w]+", caption.lower())})


def learn_merges(words: list[str]) -> list[tuple[str, str]]:
    """BPE on a list of words, each counted once, until every word is one token: encoding replays the merges in this order."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=WORD_END))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    trainer = trainers.BpeTrainer(
        vocab_size=1_000_000, min_frequency=1, initial_alphabet=sorted(alphabet), end_of_word_suffix=WORD_END, show_progress=False
    )
    tokenizer.train_from_iterator(words, trainer)
    return [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


def build_tokenizer(captions: Iterable[str], folder: Path, max_length: int, vocab_limit: int) -> CLIPTokenizer:
    """Writes `vocab.json`, `merges.txt` and `tokenizer_config.json` into `folder`; returns the tokenizer loaded from there.

    A tokenizer that is there and reads every word as one token stays: a run that goes on must keep its token ids, and learning the merges
    again may number words of equal count differently.

    Raises ValueError if the vocabulary exceeds `vocab_limit` or a word of the captions does not become one token.
    """
    words = words_of(captions)
    if all((folder / name).is_file() for name in FILES):
        tokenizer = _load(folder)
        if tokenizer.model_max_length == max_length and not _split_up(tokenizer, words):
            return tokenizer
    merges = learn_merges(words)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(letter + WORD_END for letter in letters), *("".join(pair) for pair in merges)]
    tokens = [*dict.fromkeys(tokens), START, END]
    if len(tokens) > vocab_limit:
        what = f"{len(words)} words need {len(tokens)} tokens, more than {vocab_limit}"
        raise ValueError(f"{what}; raise TextConfig.vocab_size or use fewer words")
    texts = (
        json.dumps({token: number for number, token in enumerate(tokens)}, ensure_ascii=False),
        "#version: 0.2\n" + "".join(f"{first} {second}\n" for first, second in merges),
        json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": max_length}),
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in zip(FILES, texts, strict=True):
        write_text(folder / name, text)
    tokenizer = _load(folder)
    split_up = _split_up(tokenizer, words)
    if split_up:
        raise ValueError(f"words that did not become one token: {', '.join(split_up[:10])}")
    return tokenizer


def _load(folder: Path) -> CLIPTokenizer:
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder)
        if len(tokenizer) > 2 and None not in (tokenizer.bos_token_id, tokenizer.eos_token_id):
            return tokenizer
        reason: object = "it has no tokens"
    except Exception as error:  # transformers and tokenizers raise many kinds, some of them bare `Exception`
        reason = error
    raise ValueError(f"the tokenizer in {folder} is damaged ({reason}): give its files back or use another workdir, token ids must stay")


def _split_up(tokenizer: CLIPTokenizer, words: list[str]) -> list[str]:
    """The words that do not become one token."""
    return [word for word in words if len(tokenizer(word)["input_ids"]) != 3]
