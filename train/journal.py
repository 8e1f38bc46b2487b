"""What people see of a run: a progress bar, TensorBoard, pictures. Of several processes only the first keeps one; the others' is silent."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboardX import SummaryWriter
from tqdm.auto import tqdm

from train.processes import is_first


def say(text: str) -> None:
    """Prints a line, in the first process alone."""
    if is_first():
        print(text, flush=True)


class Journal:
    """The journal of the stage `name` in its `folder`, from step `start` + 1 to `steps`."""

    def __init__(self, name: str, folder: Path, start: int, steps: int) -> None:
        self._name, self._folder = name, folder
        self._writes = is_first()
        interactive = sys.stderr.isatty()
        every = 0.5 if interactive else 30.0  # seconds; a log file needs few lines
        self._bar = tqdm(
            initial=start, total=steps, desc=name, mininterval=every, dynamic_ncols=interactive, disable=not self._writes
        )  # fmt: skip
        # an endless queue: its thread dies when the disk is full, and a step that waits for room in it would wait for ever
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1, max_queue=0) if self._writes else None

    def advance(self) -> None:
        """One step more was begun."""
        self._bar.update(1)

    def log(self, number: int, values: Mapping[str, float]) -> None:
        """Scalars of step `number`."""
        self._bar.set_postfix({name: f"{value:.4g}" for name, value in values.items()}, refresh=False)
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(f"{self._name}/{name}", value, number)

    def picture(self, number: int, picture: np.ndarray) -> None:
        """A uint8 (H, W, 3) picture, into TensorBoard and `samples/`."""
        if self._writer is None:
            return
        self._writer.add_image(self._folder.name, picture, number, dataformats="HWC")
        path = self._folder / "samples" / f"{number:07d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(path)

    def flush(self) -> None:
        """What was logged is on disk: a run that resumes after this step will not log it again."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Ends bar and file."""
        self._bar.close()
        if self._writer is not None:
            self._writer.close()
