"""Sentences of words that the planner knows and of anything else; and what a chat model might answer."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

from dreamlayer_jax.planner.chat import ChatError, ChatPlanner, read_plan
from dreamlayer_jax.planner.english import IRREGULAR, JOINS, NUMBERS, PLACES
from dreamlayer_jax.planner.plan import PlanError
from dreamlayer_jax.planner.rules import plan_by_rules

WORDS = [
    *JOINS,
    *PLACES,
    *NUMBERS,
    *IRREGULAR,
    "a",
    "an",
    "the",
    "dog",
    "cats",
    "sleeping",
    "is",
    "are",
    "of",
    "with",
    "draw",
    ",",
    ".",
    "!",
    "  ",
]
ODD = ["\x00", "\ud800", "\u202e", "犬", "🐕", "a" * 300, "(" * 50, "\\", "[", "*", "\n", "\t", "%s", "{}", "ß", "İ"]


def test_sentences(campaign: Callable[..., None], mutate: Callable[..., bytes], alter: Callable[..., str]) -> None:
    answer = {"choices": [{"message": {"content": json.dumps({"background": "a beach", "foregrounds": ["a dog"]})}}]}

    def sentences(chance: random.Random, _: Path) -> None:
        match chance.randrange(8):
            case 0:
                read_plan(mutate(json.dumps(answer).encode(), chance))
            case 1:
                read_plan(alter(answer, chance).encode())
            case 2:
                url = mutate(b"https://host:80/v1", chance).decode("latin-1")
                ChatPlanner(url=url, model=chance.choice(("m", "", " ")), key=chance.choice(("", "k", "k\n")))
            case _:
                words = chance.choices(WORDS + ODD if chance.random() < 0.3 else WORDS, k=chance.randrange(0, 25))
                plan_by_rules(chance.choice((" ", " ", "")).join(words))

    campaign(0.22, sentences, (PlanError, ChatError))
