"""`fit`: runs one stage to its end, resuming from the newest checkpoint.

The loop never waits for a step: it hands the device the next one while the last still runs. Metrics and whether all was finite stay on the
device, and are looked at every `log_every` steps and before anything is written.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import jax
from etils import epath

from train.batches import part_of_process, prefetched
from train.checkpoints import Checkpoints
from train.export import note_frozen, save_params
from train.journal import Journal, say
from train.placing import initial_params, on_host
from train.processes import by_first, is_first
from train.profile import ProfilerWindow
from train.run_facts import write_run_facts
from train.stage import Params, Stage
from train.state import TrainState, create, merge, split
from train.step import Fault, Step
from train.utilization import Utilization, peak_flops

_AHEAD = 2  # steps that the loop may be ahead of the device: enough to hide the host's work, few enough to stop soon


class Diverged(RuntimeError):
    """The loss, the gradient or the parameters are not finite."""


class Preempted(BaseException):
    """The run was asked to stop; its state is saved. Like KeyboardInterrupt, no `except Exception` on the way may take it for a failure."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How often a run writes (in steps), and the seed of its parameters and noise."""

    seed: int = 0
    log_every: int = 20
    picture_every: int = 500
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    checkpoints: str | None = None
    """Where the stages' checkpoints go, also a bucket (gs://…) that all machines see; the workdir if not given."""
    profile_from: int | None = None
    """First step of a profiler window, whose trace goes to the stage's folder `profile/`."""
    profile_steps: int = 5

    def __post_init__(self) -> None:
        for name in ("log_every", "picture_every", "checkpoint_every", "keep_checkpoints", "profile_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give a number of at least 1")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}; give a number from 0 to {2**32 - 1}")
        if self.profile_from is not None and self.profile_from < 1:
            raise ValueError(f"profile_from is {self.profile_from}; the first step is 1")


def fit(stage: Stage, workdir: Path, config: LoopConfig = LoopConfig(), facts: Any = None) -> Params:
    """Trains `stage` up to `stage.steps` in `workdir/<stage name>/` and exports the EMA parameters there; returns the whole tree.

    Starts from the newest checkpoint if there is one. SIGTERM or SIGINT: saves and raises `Preempted`. A loss, gradient or parameter that
    is not finite raises `Diverged`, exports nothing and leaves the last good checkpoint. ValueError if there is no step to make, or what
    does not learn is no longer what it was when the run began. `facts` is the resolved configuration, kept as JSON.
    """
    if stage.steps < 1:
        raise ValueError(f"{stage.name} has {stage.steps} steps; give at least 1")
    folder = workdir / stage.name
    by_first(lambda: write_run_facts(folder / "run.json", stage=stage, loop=config, config=facts), f"{stage.name} begins")
    checkpoints = Checkpoints(_checkpoints_folder(stage, folder, config), config.keep_checkpoints, config.checkpoint_every)
    try:
        state, frozen = _run(stage, folder, config, checkpoints)
        checkpoints.wait()
    finally:
        checkpoints.close()
    return export(stage, state, frozen, folder)


def export(stage: Stage, state: TrainState, frozen: Params, folder: Path) -> Params:
    """Writes the EMA of the trainable parameters to `folder/params.safetensors` and lets the stage finish; returns the whole tree."""
    params = _whole(stage, state, frozen)

    def write() -> None:
        save_params(folder / "params.safetensors", split(params, stage.trainable)[0], int(state.step))
        stage.finish(params, folder)

    by_first(write, f"{stage.name} exported")
    return params


def _whole(stage: Stage, state: TrainState, frozen: Params) -> Params:
    """The whole tree with the EMA in it: as it lies on one device, or from a mesh to the host, where every process then has all of it."""
    params = merge(state.ema, frozen)
    return params if stage.place.mesh is None else on_host(params)


def export_newest(stage: Stage, workdir: Path, config: LoopConfig = LoopConfig()) -> int:
    """Exports the newest checkpoint of a run that may still be going on; returns its step."""
    folder = workdir / stage.name
    checkpoints = _checkpoints_folder(stage, folder, config)
    trainable, frozen = split(initial_params(stage, config.seed), stage.trainable)
    fresh = create(trainable, stage.optimizer(), config.seed, stage.place)
    state = Checkpoints(checkpoints, read_only=True).restore(fresh) if checkpoints.is_dir() else None
    if state is None:
        raise FileNotFoundError(f"{checkpoints} holds no checkpoint yet")
    export(stage, state, frozen, folder)
    return int(state.step)


def _checkpoints_folder(stage: Stage, folder: Path, config: LoopConfig) -> epath.Path:
    return epath.Path(folder.absolute()) / "checkpoints" if config.checkpoints is None else epath.Path(config.checkpoints) / stage.name


def _run(stage: Stage, folder: Path, config: LoopConfig, checkpoints: Checkpoints) -> tuple[TrainState, Params]:
    optimizer = stage.optimizer()
    trainable, frozen = split(initial_params(stage, config.seed), stage.trainable)
    note_frozen(frozen, folder)
    frozen = stage.resident(frozen)
    state = create(trainable, optimizer, config.seed, stage.place)
    batches = iter(prefetched(stage.dataset(part_of_process(stage.batch_sharding)), stage.batch_sharding))
    resumed = checkpoints.restore(state, batches)
    if resumed is not None:
        state = resumed
        say(f"{stage.name}: resuming at step {int(state.step)}")
    start = int(state.step)
    if start >= stage.steps:
        return state, frozen
    step, fault = Step(stage, optimizer, state, frozen), Fault.none(stage.place)
    picture_batch = stage.picture_batch()
    devices = 1 if stage.place.mesh is None else stage.place.mesh.size
    peak, source = peak_flops(jax.local_devices()[0])
    say(f"{stage.name}: MFU is the share of {devices} x {peak / 1e12:.3g} TFLOP/s, {source}")
    utilization, begun = Utilization(devices * peak), deque(maxlen=_AHEAD)
    profiler = ProfilerWindow(folder / "profile", config.profile_from, config.profile_steps)
    journal = Journal(stage.name, folder, start, stage.steps)
    with _stop_signals() as stop, closing(journal), closing(profiler), closing(batches):
        for number in range(start + 1, stage.steps + 1):
            profiler.before(number)
            batch = next(batches)
            if step.compile(state, fault, frozen, batch):
                utilization.restart()  # the time so far says nothing
            state, fault, metrics = step(state, fault, frozen, batch)
            utilization.add(step.flops(batch))
            if len(begun) == _AHEAD:
                jax.block_until_ready(begun[0])
            begun.append(metrics)
            profiler.after(number, state)
            journal.advance()
            last = number == stage.steps
            stopped = stop.is_set() if jax.process_count() == 1 else checkpoints.preempted(number)
            logs = last or number % config.log_every == 0
            draws = picture_batch is not None and (last or number % config.picture_every == 0)
            saves = last or stopped or checkpoints.due(number)
            if logs or draws or saves:
                _require_finite(fault, stage, checkpoints)
            if logs:
                values = {name: float(value) for name, value in jax.device_get(metrics).items()}
                share = utilization.take()
                journal.log(number, values if share is None else values | {"mfu": share})
            if draws:
                params = _whole(stage, state, frozen)
                if is_first():
                    journal.picture(number, stage.picture(params, picture_batch))
            if saves:
                journal.flush()
                checkpoints.save(state, batches)
            if stopped and not last:
                checkpoints.wait()
                saved = f"{stage.name}: stopped and saved at step {number} of {stage.steps}"
                raise Preempted(f"{saved}; run the same command again to resume from there")
            if draws or saves:
                utilization.restart()
    return state, frozen


def _require_finite(fault: Fault, stage: Stage, checkpoints: Checkpoints) -> None:
    """Waits for the device, and raises `Diverged` if a step so far was not finite."""
    fault = jax.device_get(fault)
    number = int(fault.step)
    if number == 0:
        return
    checkpoints.wait()
    good = checkpoints.newest()
    kept = f"the checkpoint of step {good} is kept in {checkpoints.folder}" if good is not None else "there is no checkpoint yet"
    found = f"loss {fault.loss:.4g}, grad_norm {fault.grad_norm:.4g}"
    at = f"{stage.name}: not finite at step {number} (batch {number} of the run's order): {found}, or the parameters after it"
    raise Diverged(f"{at}; {kept}. Lower the learning rate and run again.")


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """SIGTERM and SIGINT set the event instead of ending the process. Only the main thread may listen to signals.

    Of several processes JAX listens to SIGTERM in each and lets all agree on a step: SIGINT is passed on to it.
    """
    stop = threading.Event()
    if jax.process_count() > 1:
        before = signal.signal(signal.SIGINT, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        try:
            yield stop
        finally:
            signal.signal(signal.SIGINT, before)
        return
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
