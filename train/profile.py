"""A profiler window: a trace of a few steps, for TensorBoard's profile tab or Perfetto."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax


class ProfilerWindow:
    """Traces steps `start` … `start + steps - 1` into `folder`; none where `start` is None. A window cut short is written as it is."""

    def __init__(self, folder: Path, start: int | None, steps: int) -> None:
        self._folder, self._start, self._steps = folder, start, steps
        self._open = False

    def before(self, number: int) -> None:
        """To be called before step `number`."""
        if number == self._start:
            jax.profiler.start_trace(self._folder)
            self._open = True

    def after(self, number: int, result: Any) -> None:
        """To be called when step `number` has been begun, whose result is `result`; waits for it when the window ends with it."""
        if self._open and number + 1 >= self._start + self._steps:
            jax.block_until_ready(result)
            self.close()

    def close(self) -> None:
        """Writes what is open."""
        if self._open:
            self._open = False
            jax.profiler.stop_trace()
            print(f"profile written to {self._folder}: tensorboard --logdir {self._folder.parent}", flush=True)
