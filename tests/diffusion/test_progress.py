"""Steps are said to be done when they are, in order, and few wait at a time."""

from __future__ import annotations

from typing import Any

from dreamlayer_jax.diffusion import progress as module
from dreamlayer_jax.diffusion.progress import AHEAD, Progress


class Pending:
    """An array that is computed when it has been asked for so many times."""

    def __init__(self, asked: int) -> None:
        self.asked = asked

    def is_ready(self) -> bool:
        self.asked -= 1
        return self.asked < 0


def test_pieces_are_said_to_be_done_in_order_and_at_most_so_many_wait(monkeypatch: Any) -> None:
    done: list[int] = []
    naps: list[float] = []
    monkeypatch.setattr(module.time, "sleep", naps.append)
    progress = Progress(done.append)
    for piece in range(1, AHEAD + 1):
        progress.begun(10 * piece, Pending(2))
    assert done == []
    assert naps == []
    progress.begun(10 * (AHEAD + 1), Pending(2))
    assert done == [10]
    assert len(naps) == 2  # waited for the oldest, not for the others
    progress.finish()
    assert done == [10 * piece for piece in range(1, AHEAD + 2)]
    progress.finish()
    assert len(done) == AHEAD + 1
