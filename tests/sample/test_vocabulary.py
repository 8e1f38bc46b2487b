"""The words a model knows, and which others are near. That `generate` warns of any other: test_generate.py."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dreamlayer_jax.cli.vocabulary import Vocabulary, read_vocabulary


def test_the_list_is_shown(sample, tiny_folder: Path) -> None:
    done = sample("vocabulary", "--weights", tiny_folder)
    assert (done.status, done.err) == (0, "")
    assert done.out == "backgrounds:\n  green meadow, sandy beach\nforegrounds:\n  cat, dog, duck, red apple\n"


def test_a_model_without_a_list_says_so(sample, tiny_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path / "model")
    (tmp_path / "model" / "vocabulary.json").unlink()
    done = sample("vocabulary", "--weights", tmp_path / "model")
    assert done.status == 0
    assert "reads any prompt" in done.out


def test_a_missing_model_is_named(sample, tmp_path: Path) -> None:
    done = sample("vocabulary", "--weights", tmp_path / "nowhere")
    assert done.status == 1
    assert done.err.startswith(f"error: there is no model folder {tmp_path / 'nowhere'}")


@pytest.mark.parametrize(
    ("prompt", "unknown"), [("a Dog, red!", []), ("two zebras, two dogs", ["two", "zebras", "dogs"]), ("a 3-legged dog", ["legged"])]
)
def test_unknown_words_once_each_in_order(tiny_folder: Path, prompt: str, unknown: list[str]) -> None:
    assert read_vocabulary(tiny_folder).unknown(prompt) == unknown


def test_near_names_are_found_by_any_of_their_words() -> None:
    vocabulary = Vocabulary(backgrounds=("sandy beach",), foregrounds=("teddy bear", "dog"), words=frozenset())
    assert vocabulary.near("bears") == ["teddy bear"]
    assert vocabulary.near("beech") == ["sandy beach"]
    assert vocabulary.near("xylophone") == []
