"""What a planner gives: the prompts of the background and of each foreground, checked whoever made them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from dreamlayer_jax.request import RequestError

MAX_SENTENCE = 1000
MAX_PROMPT = 200
MAX_FOREGROUNDS = 16


class PlanError(RequestError):
    """A sentence that cannot be split, or a plan that is none. The message says what was wrong, and what would do."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Prompts of a scene: each one printable line of at most 200 characters; 1 to 16 foregrounds."""

    background: str
    foregrounds: tuple[str, ...]
    """Far to near."""

    def __post_init__(self) -> None:
        _check_prompt(self.background, "background")
        if not isinstance(self.foregrounds, tuple):
            raise PlanError(f"foregrounds must be a tuple of prompts; got {type(self.foregrounds).__name__}")
        if not 1 <= len(self.foregrounds) <= MAX_FOREGROUNDS:
            raise PlanError(f"a plan has 1 to {MAX_FOREGROUNDS} foregrounds; got {len(self.foregrounds)}")
        for i, prompt in enumerate(self.foregrounds, start=1):
            _check_prompt(prompt, f"foreground {i}")


Planner = Callable[[str], Plan]
"""A sentence to a plan; raises `PlanError`."""


def check_sentence(sentence: str) -> str:
    """The sentence on one line with single spaces. Raises `PlanError` if it is empty, too long, or holds control characters."""
    line = " ".join(sentence.split())
    if not line:
        raise PlanError("the sentence is empty; say what the picture shows, such as 'a dog and a red apple on a sandy beach'")
    if len(line) > MAX_SENTENCE:
        raise PlanError(f"the sentence has {len(line)} characters; give at most {MAX_SENTENCE}")
    if not line.isprintable():
        raise PlanError(f"the sentence holds characters that cannot be printed: {line!a:.80}")
    return line


def _check_prompt(prompt: Any, what: str) -> None:
    if not isinstance(prompt, str):
        raise PlanError(f"the {what} prompt must be text; got {type(prompt).__name__}")
    if not prompt.strip():
        raise PlanError(f"the {what} prompt is empty")
    if len(prompt) > MAX_PROMPT:
        raise PlanError(f"the {what} prompt has {len(prompt)} characters; at most {MAX_PROMPT} are allowed")
    if not prompt.isprintable():
        raise PlanError(f"the {what} prompt holds characters that cannot be printed")
