"""Batches in parts: what several processes read together is what one reads."""

from __future__ import annotations

import grain
import numpy as np
import pytest

from train.batches import Part, batched, prefetched


def rows(part: Part, batches: int, start: dict | None = None) -> tuple[np.ndarray, dict]:
    examples = grain.MapDataset.range(10).shuffle(seed=3).repeat()
    iterator = iter(prefetched(batched(examples, 4, part).map(lambda x: {"x": x}).to_iter_dataset()))
    if start is not None:
        iterator.set_state(start)
    found = np.stack([next(iterator)["x"] for _ in range(batches)])
    state = iterator.get_state()
    iterator.close()
    return found, state


def test_parts_put_together_are_the_batches() -> None:
    whole, state = rows(Part(), 6)
    assert len(set(whole.ravel().tolist())) == 10
    parts = [rows(Part(index, 2), 6) for index in range(2)]
    np.testing.assert_array_equal(np.concatenate([part for part, _ in parts], axis=1), whole)
    assert all(other == state for _, other in parts)


def test_a_run_resumes_with_another_number_of_parts() -> None:
    whole, _ = rows(Part(), 6)
    _, state = rows(Part(1, 2), 4)
    np.testing.assert_array_equal(rows(Part(), 2, state)[0], whole[4:])
    np.testing.assert_array_equal(rows(Part(3, 4), 2, state)[0], whole[4:, 3:])


def test_parts_must_be_equal() -> None:
    with pytest.raises(ValueError, match="a batch of 4 cannot be divided over 3 processes"):
        batched(grain.MapDataset.range(10), 4, Part(0, 3))
