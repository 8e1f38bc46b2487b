"""One bar for the whole of a command: what it is doing, and how much of the work, by cost, is done."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm.auto import tqdm

PARTS = 1000


class Bar:
    """Says what is going on, and a share of the whole that only grows. In a log, nothing is said before the work itself begins."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        if sys.stderr.isatty():
            self.says("loading")

    def says(self, doing: str) -> None:
        """What is being done from now on."""
        if self._bar is None:
            self._bar = tqdm(total=PARTS, bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}", desc=doing)
        self._bar.set_description_str(doing)

    def at(self, share: float) -> None:
        """`share`, in [0, 1], of the whole is done. Once anything is, nothing more is compiled."""
        self.says("sampling")
        self._bar.update(max(0, round(share * PARTS) - self._bar.n))

    def close(self) -> None:
        """Leaves the bar as it is."""
        if self._bar is not None:
            self._bar.close()


@contextmanager
def whole_bar() -> Iterator[Bar]:
    """The bar; it is full only if the work ends well."""
    bar = Bar()
    try:
        yield bar
        bar.at(1.0)
    finally:
        bar.close()
