"""Textual inversion: a word of n vectors gives what transformers gives for the same rows, and counts as n words."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from transformers import CLIPTextModel as Reference

from dreamlayer_jax.models.layered import become_layered
from dreamlayer_jax.models.text_encoder import CLIPTextModel
from dreamlayer_jax.prompts import token_ids, tokenize
from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.formats.checkpoint_folder import load_pretrained, save_pretrained
from dreamlayer_jax.weights.formats.embedding import learn_word, open_embedding
from dreamlayer_jax.weights.tokenizer import load_tokenizer

WIDTH = 12


@pytest.fixture(scope="module")
def tokenizer(plain_model) -> Any:
    return load_tokenizer(plain_model.folder / "tokenizer", plain_model.config)


def written(file: Path, vectors: np.ndarray, key: str = "emb_params") -> Path:
    save_file({key: vectors}, file)
    return file


@pytest.fixture
def learned(plain_model, tokenizer, tmp_path: Path) -> tuple[Any, ...]:
    """Configuration, parameters and tokenizer with "Styl" (three vectors, half precision) and then "<toy>" (one)."""
    vectors = np.random.default_rng(5).standard_normal((4, WIDTH)).astype(np.float16)
    config, params = plain_model.config, plain_model.params
    for file, key, rows in (("Styl.safetensors", "emb_params", vectors[:3]), ("any.safetensors", "<toy>", vectors[3])):
        config, params, tokenizer = learn_word(open_embedding(written(tmp_path / file, rows, key), config), config, params, tokenizer)
    return config, params, tokenizer, vectors


def test_the_text_tower_gives_what_transformers_gives(plain_model, learned) -> None:
    config, params, tokenizer, vectors = learned
    reference = Reference.from_pretrained(plain_model.folder / "text_encoder", local_files_only=True)
    tokens = tokenize(tokenizer, [["a red styl dog"], ["<toy> beach"]], config.text.max_position_embeddings)
    first = tokenizer.convert_tokens_to_ids("Styl")
    reference.resize_token_embeddings(config.text.vocab_size, mean_resizing=False)
    with torch.no_grad():
        reference.get_input_embeddings().weight[first : first + 4] = torch.from_numpy(vectors.astype(np.float32))
        theirs = reference(torch.from_numpy(tokens.ids[:, 0].astype(np.int64))).last_hidden_state.numpy()
    ours = jax.jit(CLIPTextModel(config.text).apply)({"params": params["text_encoder"]}, tokens.ids[:, 0])
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(tokens.words[:, 0], [6, 2])


def test_spans_and_spelling(plain_model, learned, tokenizer) -> None:
    *_, knowing, _ = learned
    first = knowing.convert_tokens_to_ids("Styl")
    assert first == len(tokenizer)
    a, dog = token_ids(tokenizer, "a dog")[1:3]
    assert token_ids(knowing, "a STYL dog")[1:-1] == [a, first, first + 1, first + 2, dog]
    assert token_ids(knowing, "a styled dog") == token_ids(tokenizer, "a styled dog"), "inside a word it is no word of its own"
    assert token_ids(knowing, "a <toy>, dog")[2] == first + 3
    assert len(tokenizer) == first, "the tokenizer that was given is as it was"


def test_tables_grow_by_what_they_lack(plain_model, tokenizer, tmp_path: Path) -> None:
    """Stable Diffusion's table ends where its tokenizer does; one that is longer already keeps its length."""
    embedding = open_embedding(written(tmp_path / "styl.safetensors", np.ones((3, WIDTH), np.float32)), plain_model.config)
    rows = len(tokenizer)
    embeddings = plain_model.params["text_encoder"]["text_model"]["embeddings"]
    table = embeddings["token_embedding"]["embedding"]
    cut = {"text_encoder": {"text_model": {"embeddings": embeddings | {"token_embedding": {"embedding": table[:rows]}}}}}
    config = dataclasses.replace(plain_model.config, text=dataclasses.replace(plain_model.config.text, vocab_size=rows))
    grown_config, grown, _ = learn_word(embedding, config, cut, tokenizer)
    new = grown["text_encoder"]["text_model"]["embeddings"]["token_embedding"]["embedding"]
    assert grown_config.text.vocab_size == len(new) == rows + 3
    np.testing.assert_array_equal(new[:rows], table[:rows])
    np.testing.assert_array_equal(new[rows:], np.ones((3, WIDTH)))
    same_config, *_ = learn_word(embedding, plain_model.config, plain_model.params, tokenizer)
    assert same_config == plain_model.config


def test_a_saved_model_still_knows_the_word(learned, tmp_path: Path) -> None:
    config, params, tokenizer, _ = learned
    save_pretrained(tmp_path / "model", config, become_layered(config, params), tokenizer)
    read_config, _ = load_pretrained(tmp_path / "model")
    again = load_tokenizer(tmp_path / "model" / "tokenizer", read_config)
    assert token_ids(again, "a styl <toy>") == token_ids(tokenizer, "a styl <toy>")


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"clip_l": (2, WIDTH), "clip_g": (2, 20)}, "is one for Stable Diffusion XL"),
        ({"a": (2, WIDTH), "b": (1,)}, r"has 2 tensors \(a, b\); a textual inversion has one"),
        ({"a": (2, 1024)}, r"is \(2, 1024\); expected \(12,\) or \(n, 12\): it is one for Stable Diffusion 2.x"),
        ({"a": (2, 3)}, r"is \(2, 3\); expected \(12,\) or \(n, 12\)$"),
        ({"a": (0, WIDTH)}, r"is \(0, 12\); expected"),
        ({"a": (99, WIDTH)}, "has 99 vectors; the text tower reads prompts of 14 tokens"),
        ({"two words": (1, WIDTH)}, "would be the word 'two words', which has blanks in it; give another as WORD="),
    ],
)
def test_what_is_refused(plain_model, tmp_path: Path, tensors: dict[str, tuple[int, ...]], message: str) -> None:
    save_file({key: np.ones(shape, np.float32) for key, shape in tensors.items()}, tmp_path / "style.safetensors")
    with pytest.raises(WeightsError, match=message):
        open_embedding(tmp_path / "style.safetensors", plain_model.config)


@pytest.mark.parametrize("word", ["dog", "DOG", "styl", "styl_1", "styl_7", "<toy>", "<toy>_1", "<|endoftext|>"])
def test_a_word_that_is_there_already(learned, tmp_path: Path, word: str) -> None:
    config, params, tokenizer, _ = learned
    embedding = open_embedding(written(tmp_path / "new.safetensors", np.ones((1, WIDTH), np.float32)), config, word)
    with pytest.raises(WeightsError, match=r"the tokenizer has the word .* already; give the embedding another as WORD="):
        learn_word(embedding, config, params, tokenizer)


def test_pickles_are_refused_unread(plain_model, tmp_path: Path) -> None:
    (tmp_path / "style.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(WeightsError, match="is a pickle"):
        open_embedding(tmp_path / "style.pt", plain_model.config)
