"""The words that a small model has seen: `dreamlayer vocabulary`, and the warning for any other word."""

from __future__ import annotations

import dataclasses
import difflib
import re
import textwrap
from pathlib import Path

from dreamlayer_jax.cli.program import program
from dreamlayer_jax.cli.terminal import say

VOCABULARY_FILE = "vocabulary.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """What a model was trained on: names of backgrounds and of foreground objects, and every word of its prompts."""

    backgrounds: tuple[str, ...]
    foregrounds: tuple[str, ...]
    words: frozenset[str]

    def unknown(self, prompt: str) -> list[str]:
        """The words of `prompt` that no training prompt had, in order, each once."""
        words = re.findall(r"[^\W\d_]+", prompt.lower())
        return list(dict.fromkeys(word for word in words if word not in self.words))

    def near(self, word: str) -> list[str]:
        """Up to four names that look like `word`, or have a word that does."""
        names = dict.fromkeys((*self.foregrounds, *self.backgrounds))
        close = difflib.get_close_matches(word, {part for name in names for part in (name, *name.split())}, n=4, cutoff=0.65)
        return [name for name in names if any(match == name or match in name.split() for match in close)][:4]


def read_vocabulary(folder: Path) -> Vocabulary | None:
    """The vocabulary of the model in `folder`; None for a model without one, such as Stable Diffusion's, which reads any word.

    Raises `WeightsError` if the file is damaged.
    """
    path = folder / VOCABULARY_FILE
    if not path.is_file():
        return None
    from dreamlayer_jax.strict_json import SchemaError, read_json

    try:
        return read_json(path, Vocabulary, unknown="ignore")
    except SchemaError as error:
        from dreamlayer_jax.weights.files.errors import WeightsError

        raise WeightsError(f"{path} is damaged ({error}); install the model again") from error


def doubt_about(prompt: str, vocabulary: Vocabulary | None) -> str | None:
    """What is to be said of words of `prompt` that the model has never seen, with near names; None if it knows all."""
    unknown = vocabulary.unknown(prompt) if vocabulary else []
    if not unknown:
        return None
    near = list(dict.fromkeys(name for word in unknown for name in vocabulary.near(word)))
    said = ", ".join(f"“{word}”" for word in unknown)
    return f"the model has never seen {said} (in “{prompt}”)" + (f"; near names: {', '.join(near)}" if near else "")


def warning_for(prompt: str, vocabulary: Vocabulary | None, weights: str) -> str | None:
    """`doubt_about` as one line of the terminal."""
    doubt = doubt_about(prompt, vocabulary)
    if doubt is None:
        return None
    return f"warning: {doubt}. See all with: {program()} vocabulary{'' if weights == 'pocket' else f' --weights {weights}'}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShowVocabulary:
    """Lists the backgrounds and objects that a model was trained on."""

    weights: str = "pocket"
    """The shipped model, or another as for `generate`."""

    def run(self) -> None:
        from dreamlayer_jax.weights.where import find_model

        vocabulary = read_vocabulary(find_model(self.weights))
        if vocabulary is None:
            say(f"{self.weights} has no list of words: it reads any prompt")
            return
        for heading, names in (("backgrounds", vocabulary.backgrounds), ("foregrounds", vocabulary.foregrounds)):
            say(f"{heading}:")
            say(textwrap.fill(", ".join(sorted(names)), 100, initial_indent="  ", subsequent_indent="  "))

    @staticmethod
    def failures() -> tuple[type[Exception], ...]:
        """What can go wrong outside this program."""
        from dreamlayer_jax.weights.files.errors import WeightsError

        return WeightsError, OSError
