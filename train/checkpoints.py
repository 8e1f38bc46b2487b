"""Checkpoints of a running stage: state and data iterator together with their checksums, atomic and asynchronous (Orbax)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grain
import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from etils import epath

from train.fingerprint import fingerprint
from train.journal import say
from train.state import TrainState

_CHECKS = "checks"


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written, or none can be read."""


class DamagedError(RuntimeError):
    """A checkpoint reads without an error, but what it holds is not what was saved."""


class Checkpoints:
    """The newest `keep` checkpoints in `folder`, due every `every` steps; each is complete or absent.

    `read_only`: for a look at a run that another process may still be writing; nothing is then removed.
    """

    def __init__(self, folder: epath.PathLike, keep: int = 2, every: int = 1, read_only: bool = False) -> None:
        self.folder, self._read_only = epath.Path(folder), read_only
        policy = ocp.checkpoint_managers
        writing = {
            "max_to_keep": keep,
            "save_decision_policy": policy.AnySavePolicy([policy.FixedIntervalPolicy(every), policy.PreemptionCheckpointingPolicy()]),
            "cleanup_tmp_directories": True,
        }
        options = ocp.CheckpointManagerOptions(enable_async_checkpointing=True, read_only=read_only, **({} if read_only else writing))
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def due(self, step: int) -> bool:
        """Whether a checkpoint is to be made after `step`."""
        return self._manager.should_save(step)

    def preempted(self, step: int) -> bool:
        """Whether all processes have agreed to stop after `step`, because one was told to (SIGTERM)."""
        return self._manager.reached_preemption(step)

    def save(self, state: TrainState, iterator: grain.DatasetIterator) -> None:
        """Starts writing and returns; `state` may then be donated. One JSON for all processes, whose iterators stand at the same batch."""
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        data, checks = iterator.get_state(), fingerprint(state).tolist()
        if jax.default_backend() == "cpu":  # host memory is device memory there: what Orbax writes would be donated under its hands
            state = _copied(state)
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            data=ocp.args.JsonSave(data),
            checks=ocp.args.JsonSave({"state": checks, "data": _digest(data)}),
        )
        with self._writing():
            self._manager.save(step, args=args, force=True)

    def newest(self) -> int | None:
        """The step of the newest complete checkpoint on disk."""
        self._manager.reload()
        return self._manager.latest_step()

    def restore(self, like: TrainState, iterator: grain.DatasetIterator | None = None) -> TrainState | None:
        """The newest sound state (None if there is no checkpoint at all), placed as `like` is; moves `iterator` to where it was.

        A damaged newest checkpoint is named on the terminal, and removed once an older one has been read (unless `read_only`).
        """
        damaged: list[int] = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                state = self._read(step, like, iterator)
            except Exception as error:  # Orbax raises many kinds; whatever it is, this checkpoint cannot be used
                say(f"checkpoint {step} cannot be read ({type(error).__name__}: {error}); trying the one before")
                damaged.append(step)
                continue
            for bad in () if self._read_only else damaged:
                self._manager.delete(bad)
            return state
        if damaged:
            raise CheckpointError(f"none of the checkpoints {damaged} in {self.folder} can be read; move the folder away to start anew")
        return None

    def _read(self, step: int, like: TrainState, iterator: grain.DatasetIterator | None) -> TrainState:
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        checked = (self.folder / str(step) / _CHECKS).is_dir()  # not before release 0.2
        args: dict[str, Any] = {"state": ocp.args.StandardRestore(abstract), "data": ocp.args.JsonRestore()}
        if checked:
            args[_CHECKS] = ocp.args.JsonRestore()
        restored = self._manager.restore(step, args=ocp.args.Composite(**args))
        if checked:
            found = {"state": fingerprint(restored.state).tolist(), "data": _digest(restored.data)}
            wrong = [name for name, value in found.items() if restored[_CHECKS].get(name) != value]
            if wrong:
                raise DamagedError(f"the checksums of its {' and '.join(wrong)} differ from what was saved")
        if int(restored.state.step) != step:
            raise DamagedError(f"it holds step {int(restored.state.step)}")
        if iterator is not None:
            iterator.set_state(restored.data)
        return restored.state

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
                f"a checkpoint could not be written to {self.folder} ({type(error).__name__}: {reason}); {kept}. "
                "Is the disk full? Mend it and run the same command again to resume from there."
            ) from error


@jax.jit
def _copied(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


def _digest(tree: Any) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()
