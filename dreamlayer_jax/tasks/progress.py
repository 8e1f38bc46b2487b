"""How far work has come that was handed to the device: JAX gives arrays back before they are computed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Protocol, runtime_checkable

AHEAD = 5.0
"""Seconds of work that may wait on the device, so that Python can prepare what follows; Ctrl-C ends a program only after them."""
NAP = 0.005
PIECES = 10
"""How often a run says how far it has come."""
DECODING = 2
"""About as many steps' work: the decoders on all layers, and the same for the encoder and decoder after harmonisation."""


@runtime_checkable
class Result(Protocol):
    """What JAX gives back before it is computed: an array."""

    def is_ready(self) -> bool: ...


class Progress:
    """Says each piece of a run when it is done, and lets no more of them wait than `AHEAD` seconds, by the time the first one takes."""

    def __init__(self, on_progress: Callable[[float], None], whole: float) -> None:
        """`on_progress` is called with the share of the whole that is done; `whole` and the pieces' ends are costs in steps."""
        self._on_progress, self._whole = on_progress, whole
        self._begun: deque[tuple[float, Result]] = deque()
        self._ahead: int | None = None

    def begun(self, done: float, result: Result) -> None:
        """The piece that ends when `done` steps' work is done was handed over; its result will be `result`."""
        self._begun.append((done, result))
        if self._ahead is None:
            start = time.monotonic()
            self.finish()
            self._ahead = int(AHEAD / max(time.monotonic() - start, NAP))
        self._wait_for_all_but(self._ahead)

    def finish(self) -> None:
        """Waits for the last piece."""
        self._wait_for_all_but(0)

    def _wait_for_all_but(self, some: int) -> None:
        while len(self._begun) > some:
            done, result = self._begun.popleft()
            while not result.is_ready():  # unlike block_until_ready, Ctrl-C can come between
                time.sleep(NAP)
            self._on_progress(done / self._whole)
