"""Checkpoints of a running stage: state and data iterator together, atomic and asynchronous (Orbax)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp

from train.state import TrainState


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written, or none can be read."""


class Checkpoints:
    """The newest `keep` checkpoints in `folder`; each is complete or absent.

    `read_only`: for a look at a run that another process may still be writing; nothing is then removed.
    """

    def __init__(self, folder: Path, keep: int = 2, read_only: bool = False) -> None:
        self._folder, self._read_only = folder, read_only
        writing = {"max_to_keep": keep, "cleanup_tmp_directories": True}
        options = ocp.CheckpointManagerOptions(enable_async_checkpointing=True, read_only=read_only, **({} if read_only else writing))
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def save(self, state: TrainState, iterator: grain.DatasetIterator) -> None:
        """Starts writing and returns. The copy is ours because the next step donates the state's buffers while they are being written."""
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        copied = jax.tree.map(lambda value: np.array(value, copy=True), state)
        args = ocp.args.Composite(state=ocp.args.StandardSave(copied), data=ocp.args.JsonSave(iterator.get_state()))
        with self._writing():
            self._manager.save(step, args=args)

    def newest(self) -> int | None:
        """The step of the newest complete checkpoint on disk."""
        return max((int(path.name) for path in self._folder.glob("*") if path.name.isdigit()), default=None)

    def restore(self, like: TrainState, iterator: grain.DatasetIterator | None = None) -> TrainState | None:
        """The newest readable state (None if there is no checkpoint at all); moves `iterator` to where it was.

        A damaged newest checkpoint is named on the terminal, and removed once an older one has been read (unless `read_only`).
        """
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        damaged: list[int] = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), data=ocp.args.JsonRestore())
                restored = self._manager.restore(step, args=args)
            except Exception as error:  # Orbax raises many kinds; whatever it is, this checkpoint cannot be used
                print(f"checkpoint {step} cannot be read ({type(error).__name__}: {error}); trying the one before", flush=True)
                damaged.append(step)
                continue
            for bad in () if self._read_only else damaged:
                self._manager.delete(bad)
            if iterator is not None:
                iterator.set_state(restored.data)
            return restored.state
        if damaged:
            raise CheckpointError(f"none of the checkpoints {damaged} in {self._folder} can be read; move the folder away to start anew")
        return None

    def wait(self) -> None:
        """Returns when the last save is on disk; raises if it failed."""
        with self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits and lets go of the writing threads."""
        with self._writing():
            self._manager.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Says what is left when a checkpoint, this one or the one before it, could not be written."""
        try:
            yield
        except Exception as error:  # Orbax and TensorStore raise many kinds; a full disk is a ValueError here, an OSError there
            newest = self.newest()
            kept = "there is no checkpoint yet" if newest is None else f"the newest whole one is of step {newest}"
            reason = " ".join(str(error).split())[:500]
            raise CheckpointError(
                f"a checkpoint could not be written to {self._folder} ({type(error).__name__}: {reason}); {kept}. "
                "Is the disk full? Mend it and run the same command again to go on from there."
            ) from error
