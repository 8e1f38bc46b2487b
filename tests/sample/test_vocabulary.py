"""The words a model knows: the list, and the warning for any other word."""

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


def test_an_unknown_word_is_a_warning_with_near_names(generate, tiny_folder: Path, tmp_path: Path) -> None:
    done = generate("--out", tmp_path / "out", foregrounds=("a dogg",))
    assert done.status == 0
    warning = next(line for line in done.err.splitlines() if line.startswith("warning: "))
    assert "“dogg” (in “a dogg”); near names: dog" in warning
    assert f"python -m sample vocabulary --weights {tiny_folder}" in warning
    assert (tmp_path / "out" / "sheet.png").is_file()


def test_known_words_are_no_warning(generate, tmp_path: Path) -> None:
    done = generate("--out", tmp_path / "out", background="The GREEN meadow", foregrounds=("a red apple",))
    assert done.status == 0
    assert "warning" not in done.err


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
