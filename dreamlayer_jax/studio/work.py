"""One model, one queue: a thread of its own does one piece of work after the other, and no more than so many wait."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from dreamlayer_jax.studio.limits import TooMuch

log = logging.getLogger(__name__)


class Cancelled(Exception):
    """The work is no longer wanted."""


class Work:
    """One piece: `do(report)` in the queue's thread, where `report(share)` raises `Cancelled` once nobody wants it."""

    def __init__(self, owner: str, what: str, do: Callable[[Callable[[float], None]], None], on_change: Callable[[Work], None]) -> None:
        self.owner, self.what, self.share, self.state = owner, what, 0.0, "waiting"
        self.error = ""
        self._do, self._on_change = do, on_change
        self._unwanted = threading.Event()

    @property
    def unwanted(self) -> bool:
        return self._unwanted.is_set()

    def cancel(self) -> None:
        """It ends before its next step; a result that comes all the same is dropped."""
        self._unwanted.set()

    def report(self, share: float) -> None:
        """A share, from 0 to 1, is done."""
        if self.unwanted:
            raise Cancelled
        self.share = share
        self._on_change(self)

    def run(self, failures: tuple[type[Exception], ...]) -> None:
        self.state = "working"
        try:
            self.report(0.0)
            self._do(self.report)
            self.state = "done"
        except Cancelled:
            self.state = "cancelled"
        except failures as error:
            self.state, self.error = "failed", str(error)
        except Exception as error:
            log.exception("the studio could not do: %s", self.what)
            self.state, self.error = "failed", f"that went wrong inside the studio ({type(error).__name__}); its terminal says more"
        self._on_change(self)


class Queue:
    """Bounded, first come first served. `failures` are told as they are; anything else is a bug, which the log shows."""

    def __init__(self, waiting: int, failures: tuple[type[Exception], ...]) -> None:
        self._most, self._failures = waiting, failures
        self._waiting: deque[Work] = deque()
        self._spare: deque[Work] = deque()
        self._ready = threading.Condition()
        self._running: Work | None = None
        self._running_is_spare = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="studio-model", daemon=True)
        self._thread.start()

    def put(self, work: Work) -> None:
        """Takes its place at the end. Raises `TooMuch` if so many wait already."""
        with self._ready:
            self._waiting = deque(other for other in self._waiting if not other.unwanted)
            if len(self._waiting) >= self._most:
                raise TooMuch(f"{len(self._waiting)} pieces of work wait already; try again when one is done")
            self._waiting.append(work)
            if self._running is not None and self._running_is_spare:
                self._running.cancel()
            self._ready.notify()

    def put_spare(self, work: Work) -> None:
        """Work that nobody waits for: it is done while nothing else is there to do, and given up as soon as something is."""
        with self._ready:
            self._spare.append(work)
            self._ready.notify()

    def before(self, work: Work) -> int:
        """How many come first."""
        with self._ready:
            ahead = [other for other in self._waiting if not other.unwanted]
            others = self._running is not None and self._running is not work and not self._running_is_spare
            return (ahead.index(work) if work in ahead else 0) + others

    def cancel(self, owner: str) -> None:
        """Nothing of an owner's is wanted any more."""
        with self._ready:
            for work in [*self._waiting, *([self._running] if self._running else [])]:
                if work.owner == owner:
                    work.cancel()

    def close(self) -> None:
        """Nothing more is done; waits for the piece at hand to notice."""
        with self._ready:
            self._closed = True
            for work in [*self._waiting, *([self._running] if self._running else [])]:
                work.cancel()
            self._ready.notify()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._waiting or self._spare or self._closed)
                if self._closed:
                    return
                self._running_is_spare = not self._waiting
                self._running = (self._waiting or self._spare).popleft()
            self._running.run(self._failures)
            with self._ready:
                self._running = None
