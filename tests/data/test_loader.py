"""Batches: complete, padded, shuffled, repeatable, resumable."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from data.loader import collate, scene_loader
from data.source import SceneSource
from data.world import shapes_world

SOURCE = SceneSource(shapes_world(), range(6), size=16)


def seeds(loader, count):
    return [batch["seed"].tolist() for batch in itertools.islice(loader, count)]


def assert_same(left, right):
    assert left.keys() == right.keys()
    for key in left:
        np.testing.assert_array_equal(left[key], right[key])


def test_a_batch_pads_scenes_with_empty_layers():
    batch = next(iter(scene_loader(SOURCE, batch_size=3, shuffle=False)))
    assert batch["rgba"].shape == (3, 4, 16, 16, 4)
    assert batch["global"].shape == (3, 16, 16, 3)
    assert batch["boxes"].shape == (3, 4, 4)
    np.testing.assert_array_equal(batch["valid"].sum(1), [2, 3, 4])
    assert not batch["rgba"][~batch["valid"]].any()
    assert (batch["prompts"][~batch["valid"]] == "").all()
    for n in range(3):
        k = n + 2
        np.testing.assert_array_equal(batch["rgba"][n, :k], SOURCE[n]["rgba"])
        assert tuple(batch["prompts"][n, :k]) == SOURCE[n]["prompts"]
        assert tuple(batch["names"][n, :k]) == SOURCE[n]["names"]


def test_each_epoch_is_another_order_of_all_scenes():
    epochs = seeds(scene_loader(SOURCE, batch_size=6), 2)
    assert [sorted(epoch) for epoch in epochs] == [list(range(6))] * 2
    assert epochs[0] != epochs[1]


def test_the_seed_decides_the_order():
    first, again, other = (seeds(scene_loader(SOURCE, batch_size=2, seed=seed), 6) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_epochs_end():
    assert len(seeds(scene_loader(SOURCE, batch_size=2, epochs=2), 99)) == 6


@pytest.mark.parametrize("threads", [0, 1])
def test_a_restored_iterator_goes_on_where_it_was(threads):
    iterator = iter(scene_loader(SOURCE, batch_size=2, threads=threads))
    next(iterator)
    state = iterator.get_state()
    expected = [next(iterator) for _ in range(3)]
    restored = iter(scene_loader(SOURCE, batch_size=2))
    restored.set_state(state)
    for batch in expected:
        assert_same(next(restored), batch)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="a scene has 4 layers, the batch holds 3"):
        collate([SOURCE[2]], max_layers=3)
    with pytest.raises(ValueError, match="one size"):
        collate([SOURCE[0], SceneSource(SOURCE.world, range(1), size=32)[0]], max_layers=4)
    with pytest.raises(ValueError, match="no batch would be complete"):
        scene_loader(SOURCE, batch_size=7, epochs=1)
