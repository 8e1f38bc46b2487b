"""Checkpoints of a running stage: state and data iterator together, atomic and asynchronous (Orbax)."""

from __future__ import annotations

from pathlib import Path

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp

from train.state import TrainState


class Checkpoints:
    """The newest `keep` checkpoints in `folder`; each is complete or absent."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=True)
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def save(self, state: TrainState, iterator: grain.DatasetIterator) -> None:
        """Starts writing and returns. The copy is ours because the next step donates the state's buffers while they are being written."""
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        copied = jax.tree.map(lambda value: np.array(value, copy=True), state)
        self._manager.save(step, args=ocp.args.Composite(state=ocp.args.StandardSave(copied), data=ocp.args.JsonSave(iterator.get_state())))

    def restore(self, like: TrainState, iterator: grain.DatasetIterator | None = None) -> TrainState | None:
        """The newest readable state (None if there is no checkpoint at all); moves `iterator` to where it was.

        A damaged newest checkpoint is named on the terminal, and removed once an older one has been read.
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
            for bad in damaged:
                self._manager.delete(bad)
            if iterator is not None:
                iterator.set_state(restored.data)
            return restored.state
        if damaged:
            where = self._manager.directory
            raise RuntimeError(f"none of the checkpoints {damaged} in {where} can be read; move the folder away to start anew")
        return None

    def wait(self) -> None:
        """Returns when the last save is on disk; raises if it failed."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits and lets go of the writing threads."""
        self._manager.close()
