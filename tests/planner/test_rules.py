"""Sentences and their layers, far to near."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import pytest

from dreamlayer_jax.planner.english import singular
from dreamlayer_jax.planner.plan import Plan, PlanError
from dreamlayer_jax.planner.rules import plan_by_rules


@pytest.mark.parametrize(
    ("sentence", "background", "foregrounds"),
    [
        # a list of things, and where they are, at the end or at the beginning
        ("a dog and a red apple on a sandy beach", "a sandy beach", ["a dog", "a red apple"]),
        ("a red apple, a dog and a teddy bear in a green meadow", "a green meadow", ["a red apple", "a dog", "a teddy bear"]),
        ("a guitar, a drum, and a top hat on a theatre stage.", "a theatre stage", ["a guitar", "a drum", "a top hat"]),
        ("On a snowy field, a penguin next to a house", "a snowy field", ["a penguin", "a house"]),
        ("a sandy beach with a dog and a red apple", "a sandy beach", ["a dog", "a red apple"]),
        ("a boat by the sea", "the sea", ["a boat"]),
        ("a dog under a starry night", "a starry night", ["a dog"]),
        ("dogs and cats on grass", "grass", ["dogs", "cats"]),
        # words of depth
        ("a cat in front of a house on a city street", "a city street", ["a house", "a cat"]),
        ("a house behind a dog and a cat in a meadow", "a meadow", ["a house", "a dog", "a cat"]),
        ("a dog and a cat behind a house in a meadow", "a meadow", ["a dog", "a cat", "a house"]),
        ("in front of a house, a cat on a beach", "a beach", ["a house", "a cat"]),
        ("a fox in front of a dog in front of a house in a park", "a park", ["a house", "a dog", "a fox"]),
        ("a cat on a chair in a wooden room", "a wooden room", ["a chair", "a cat"]),
        ("a cat in front of a house", "a house", ["a cat"]),
        ("a dog in the foreground and mountains in the background", "mountains", ["a dog"]),
        # when
        ("a cat in front of a house at night", "night", ["a house", "a cat"]),
        ("a dog on a beach at sunset", "a beach at sunset", ["a dog"]),
        ("at night, a fox and an owl in an autumn forest", "an autumn forest at night", ["a fox", "an owl"]),
        # what belongs together
        ("a black and white dog and a big, red apple on a beach", "a beach", ["a black and white dog", "a big, red apple"]),
        ("a girl with a red hat and a boy in a park", "a park", ["a girl with a red hat", "a boy"]),
        ("a fish in a bowl on a table in a kitchen", "a kitchen", ["a table", "a fish in a bowl"]),
        # counts
        ("two dogs on a beach", "a beach", ["a dog", "a dog"]),
        ("three buses and 2 orange foxes on a city street", "a city street", ["a bus"] * 3 + ["an orange fox"] * 2),
        ("two cats sleeping on a sofa", "a sofa", ["a cat", "a cat"]),
        ("three young children running on a beach", "a beach", ["a young child"] * 3),
        ("two wedding rings on a table", "a table", ["a wedding ring"] * 2),
        ("a pair of boots on the floor", "the floor", ["a boot", "a boot"]),
        # words around it
        ("Draw a picture of a dog on a beach!", "a beach", ["a dog"]),
        ("There is a dog sitting next to a red apple on a beach", "a beach", ["a dog", "a red apple"]),
    ],
)
def test_sentences(sentence: str, background: str, foregrounds: list[str]) -> None:
    assert plan_by_rules(sentence) == Plan(background=background, foregrounds=tuple(foregrounds))


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        ("a dog and a cat", "'a dog and a cat' does not say where it is"),
        ("two dogs", "does not say where it is"),
        ("a sandy beach", "names only a background, 'a sandy beach'"),
        ("on a beach", "names only a background"),
        (" \n ", "the sentence is empty"),
        (",,,", "does not say where it is"),
        ("a dog\x1b[2J on a beach", "cannot be printed"),
        ("a dog and " * 150, "give at most 1000"),
        (f"{'very ' * 60} big dog on a beach", "foreground 1 prompt has"),
        (f"{', '.join(['a dog'] * 20)} on a beach", "1 to 16 foregrounds; got 20"),
    ],
)
def test_what_is_refused(sentence: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        plan_by_rules(sentence)


WORDS = "a an the two dog dogs black red beach night house with and , on in at front of behind next to background foreground is sitting"


@hypothesis.given(st.lists(st.sampled_from(WORDS.split()), max_size=14).map(" ".join))
@hypothesis.settings(max_examples=200)
def test_any_words_are_a_plan_or_a_plan_error(sentence: str) -> None:
    try:
        plan = plan_by_rules(sentence)
    except PlanError:
        return
    assert plan == plan_by_rules(f"  {sentence} ")


@pytest.mark.parametrize(
    ("many", "one"),
    [
        ("apples", "apple"),
        ("cherries", "cherry"),
        ("boxes", "box"),
        ("glasses", "glass"),
        ("children", "child"),
        ("buses", "bus"),
        ("dog", "dog"),
    ],
)
def test_singular(many: str, one: str) -> None:
    assert singular(many) == one
