"""Steps are said to be done when they are, in order, and no more wait than a few seconds' worth."""

from __future__ import annotations

import types

import pytest

from dreamlayer_jax.tasks import progress as module
from dreamlayer_jax.tasks.progress import AHEAD, Progress


class Device:
    """Computes one piece after the other, each in so many seconds; its clock goes on only while someone sleeps."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.now, self.free = seconds, 0.0, 0.0

    def piece(self) -> types.SimpleNamespace:
        self.free = ready = max(self.free, self.now) + self.seconds
        return types.SimpleNamespace(is_ready=lambda: self.now >= ready)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(("seconds", "ahead"), [(1.0, 4), (2.0, 2), (60.0, 0)])
def test_pieces_are_said_in_order_and_no_more_wait_than_a_few_seconds_worth(
    monkeypatch: pytest.MonkeyPatch, seconds: float, ahead: int
) -> None:
    device, done = Device(seconds), []
    monkeypatch.setattr(module, "time", types.SimpleNamespace(sleep=device.sleep, monotonic=lambda: device.now))
    progress = Progress(done.append, whole=10)
    progress.begun(1, device.piece())
    assert done == [0.1]  # the first is waited for, to know how long one takes
    for piece in range(2, 10):
        progress.begun(piece, device.piece())
        assert done == [n / 10 for n in range(1, max(1, piece - ahead) + 1)]
        assert device.free - device.now <= AHEAD
    progress.finish()
    assert done == [n / 10 for n in range(1, 10)]
    assert device.now >= 9 * seconds
    progress.finish()
    assert len(done) == 9
