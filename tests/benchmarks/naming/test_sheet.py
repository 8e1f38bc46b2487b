"""The blind sheet: every object as often as it should be, the right layer on its tile, and answers counted by the key."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from benchmarks.naming.scenes import Subject, choose_subjects
from benchmarks.naming.score import ACCEPTED, is_named, score
from benchmarks.naming.sheet import COLUMNS, GAP, NUMBER, PER_PAGE, TILE, key, pages, shuffled, tile
from data.cutouts import EMOJI
from data.world import shapes_world
from sample.evaluate.scenes import true_pictures


@pytest.fixture(scope="module")
def subjects() -> list[Subject]:
    return choose_subjects(shapes_world(), 900_000, (2, 3))


def test_every_object_is_asked_for_once_a_layer_count_and_no_scene_twice(subjects: list[Subject]) -> None:
    names = Counter(subject.name for subject in subjects)
    assert set(names) == {cutout.name for cutout in shapes_world().cutouts}
    assert set(names.values()) == {2}
    assert len({subject.scene for subject in subjects}) == len(subjects)
    assert all(subject.example["names"][subject.layer] == subject.name and subject.layer > 0 for subject in subjects)


def test_the_tile_of_a_number_shows_what_the_key_says(subjects: list[Subject]) -> None:
    order = shuffled(subjects, seed=0)
    opened = key(order)
    assert [entry["object"] for entry in opened["layers"]] != [entry["object"] for entry in opened["globals"]]
    drawn = [tile("layers", subject, true_pictures(subject.example)) for subject in order["layers"]]
    sheet = pages(drawn)
    assert len(sheet) == -(-len(subjects) // PER_PAGE)
    number = 12
    left, top = GAP + (number - 1) % COLUMNS * (TILE + GAP), GAP + (number - 1) // COLUMNS * (TILE + NUMBER + GAP)
    shown = np.asarray(sheet[0].crop((left, top, left + TILE, top + TILE)), int)
    entry = opened["layers"][number - 1]
    example = next(s.example for s in subjects if s.scene == (entry["layers"], entry["seed"]))
    assert entry["tile"] == number
    assert sorted([entry["object"], *entry["others"]]) == sorted(example["names"][1:])
    rgba = example["rgba"][list(example["names"]).index(entry["object"])]
    middle = shown.reshape(64, 2, 64, 2, 3).mean((1, 3))  # enlarged twice
    inside = rgba[..., 3] == 255
    assert np.abs(middle - rgba[..., :3])[inside].mean() < 12


def test_answers_are_counted_by_the_key() -> None:
    rows = [{"tile": 1, "object": "red apple", "layers": 2}, {"tile": 2, "object": "dog", "layers": 3}]
    opened = {"layers": rows, "globals": rows}
    answers = {"layers": {"1": "An apple", "2": "unsure"}, "globals": {"1": ["a tomato", "a dog"], "2": ["the dog", "a car"]}}
    found = score(opened, answers)
    assert (found["layers"]["named"], found["globals"]["named"]) == (1, 1)
    assert found["layers"]["missed"] == {"dog": 1}
    assert found["globals"]["by layer count"] == {"2": "0 of 1", "3": "1 of 1"}
    with pytest.raises(ValueError, match="the answers on layers do not fit the sheet at 2, 3"):
        score(opened, answers | {"layers": {"1": "", "3": ""}})


def test_accepted_words_name_one_object_only() -> None:
    words = Counter(word for name in EMOJI for word in (name, *ACCEPTED.get(name, ())))
    assert set(words.values()) == {1}
    assert set(ACCEPTED) <= set(EMOJI)
    assert is_named("football", ["a soccer ball"])
    assert not is_named("football", ["a ball"])
