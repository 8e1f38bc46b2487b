"""The pocket's vocabulary in transformers' own CLIPTokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from data.captions import all_captions, all_words
from data.world import shapes_world
from train.tokenizer import END, START, build_tokenizer

CAPTIONS = ["a red apple", "an apple on a sandy beach", "a bee", "robot, at night", "number 42"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> CLIPTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer(CAPTIONS, folder, max_length=16, vocab_limit=1024)
    return CLIPTokenizer.from_pretrained(folder)


def test_every_word_is_one_token(tokenizer: CLIPTokenizer) -> None:
    ids = tokenizer("a red apple")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == [START, "a</w>", "red</w>", "apple</w>", END]


def test_case_does_not_matter(tokenizer: CLIPTokenizer) -> None:
    assert tokenizer("A Red APPLE")["input_ids"] == tokenizer("a red apple")["input_ids"]


@pytest.mark.parametrize("text", ["zebra", "日本", "naïve", "re"])
def test_other_words_fall_back_to_pieces_and_come_back(tokenizer: CLIPTokenizer, text: str) -> None:
    ids = tokenizer(text)["input_ids"]
    assert len(ids) > 3 or text == "re"
    assert tokenizer.unk_token_id not in ids[1:-1]
    assert tokenizer.decode(ids[1:-1]) == text


def test_padding_is_the_end_token(tokenizer: CLIPTokenizer) -> None:
    ids = tokenizer("a bee", padding="max_length", truncation=True)["input_ids"]
    assert len(ids) == 16
    assert set(ids[4:]) == {tokenizer.convert_tokens_to_ids(END)}


def test_a_whole_world_fits(tmp_path: Path) -> None:
    built = build_tokenizer(all_captions(shapes_world()), tmp_path, max_length=32, vocab_limit=1024)
    assert all(len(built(word)["input_ids"]) == 3 for word in all_words(shapes_world()))


def test_too_many_words_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"need \d+ tokens, more than 520"):
        build_tokenizer(CAPTIONS, tmp_path, max_length=16, vocab_limit=520)
    assert not list(tmp_path.iterdir())


def test_a_tokenizer_that_is_there_keeps_its_ids(tmp_path: Path) -> None:
    build_tokenizer(CAPTIONS, tmp_path, max_length=16, vocab_limit=1024)
    lines = (tmp_path / "merges.txt").read_text().splitlines()
    before = {name: (tmp_path / name).read_text() for name in ("vocab.json", "merges.txt")}
    build_tokenizer(CAPTIONS[:3], tmp_path, max_length=16, vocab_limit=1024)
    assert {name: (tmp_path / name).read_text() for name in before} == before
    build_tokenizer([*CAPTIONS, "a giraffe"], tmp_path, max_length=16, vocab_limit=1024)
    assert len((tmp_path / "merges.txt").read_text().splitlines()) > len(lines)
