"""`fit`: runs one stage to its end, resuming from the newest checkpoint."""

from __future__ import annotations

import dataclasses
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image
from tensorboardX import SummaryWriter
from tqdm import tqdm

from train.checkpoints import Checkpoints
from train.export import note_frozen, save_params
from train.profile import ProfilerWindow
from train.run_facts import write_run_facts
from train.stage import Params, Stage
from train.state import TrainState, create, merge, split
from train.step import make_step, model_flops
from train.utilization import Utilization, peak_flops


class Diverged(RuntimeError):
    """The loss or the gradient is not finite."""


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
    profile_from: int | None = None
    """First step of a profiler window, whose trace goes to the stage's folder `profile/`."""
    profile_steps: int = 5


def fit(stage: Stage, workdir: Path, config: LoopConfig = LoopConfig(), facts: Any = None) -> Params:
    """Trains `stage` up to `stage.steps` in `workdir/<stage name>/` and exports the EMA parameters there; returns the whole tree.

    Starts from the newest checkpoint if there is one. SIGTERM or SIGINT: saves and raises `Preempted`. A loss or gradient that
    is not finite raises `Diverged` and leaves the last good checkpoint. ValueError if what does not learn is no longer what it was when the
    run began. `facts` is the resolved configuration, kept as JSON.
    """
    folder = workdir / stage.name
    folder.mkdir(parents=True, exist_ok=True)
    write_run_facts(folder / "run.json", stage=stage, loop=config, config=facts)
    checkpoints = Checkpoints(folder / "checkpoints", config.keep_checkpoints)
    try:
        state, frozen = _run(stage, folder, config, checkpoints)
        checkpoints.wait()
    finally:
        checkpoints.close()
    return export(stage, state, frozen, folder)


def export(stage: Stage, state: TrainState, frozen: Params, folder: Path) -> Params:
    """Writes the EMA of the trainable parameters to `folder/params.safetensors` and lets the stage finish; returns the whole tree."""
    params = merge(state.ema, frozen)
    save_params(folder / "params.safetensors", state.ema, int(state.step))
    stage.finish(params, folder)
    return params


def export_newest(stage: Stage, workdir: Path, config: LoopConfig = LoopConfig()) -> int:
    """Exports the newest checkpoint of a run that may still be going on; returns its step."""
    folder = workdir / stage.name
    checkpoints = folder / "checkpoints"
    trainable, frozen = split(stage.init(jax.random.key(config.seed)), stage.trainable)
    fresh = create(trainable, stage.optimizer(), config.seed)
    state = Checkpoints(checkpoints, read_only=True).restore(fresh) if checkpoints.is_dir() else None
    if state is None:
        raise FileNotFoundError(f"{checkpoints} holds no checkpoint yet")
    export(stage, state, frozen, folder)
    return int(state.step)


def _run(stage: Stage, folder: Path, config: LoopConfig, checkpoints: Checkpoints) -> tuple[TrainState, Params]:
    optimizer = stage.optimizer()
    trainable, frozen = split(stage.init(jax.random.key(config.seed)), stage.trainable)
    note_frozen(frozen, folder)
    state = create(trainable, optimizer, config.seed)
    iterator = iter(stage.dataset())
    resumed = checkpoints.restore(state, iterator)
    if resumed is not None:
        state = resumed
        print(f"{stage.name}: resuming at step {int(state.step)}", flush=True)
    start = int(state.step)
    if start >= stage.steps:
        return state, frozen
    step_fn = make_step(stage, optimizer)
    picture_batch = stage.picture_batch()
    # an endless queue: its thread dies when the disk is full, and a step that waits for room in it would wait for ever
    writer = SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1, max_queue=0)
    profiler = ProfilerWindow(folder / "profile", config.profile_from, config.profile_steps)
    peak, source = peak_flops(jax.devices()[0])
    print(f"{stage.name}: MFU is the share of {peak / 1e12:.3g} TFLOP/s, {source}", flush=True)
    utilization, flops = Utilization(peak), {}
    interactive = sys.stderr.isatty()
    every = 0.5 if interactive else 30.0  # seconds; a log file needs few lines
    bar = tqdm(initial=start, total=stage.steps, desc=stage.name, mininterval=every, dynamic_ncols=interactive)
    with _stop_signals() as stop, bar, closing(writer), closing(profiler):
        for number in range(start + 1, stage.steps + 1):
            profiler.before(number)
            began = time.perf_counter()
            batch = next(iterator)
            state, metrics = step_fn(state, frozen, batch)
            values = {name: float(value) for name, value in metrics.items()}
            seconds = time.perf_counter() - began
            profiler.after(number)
            if not (math.isfinite(values["loss"]) and math.isfinite(values["grad_norm"])):
                checkpoints.wait()
                raise Diverged(_diverged_message(stage, number, values, checkpoints.newest(), folder))
            bar.update(1)
            shapes = tuple(array.shape for array in batch.values())
            if shapes in flops:
                utilization.add(flops[shapes], seconds)
            else:  # this step was compiled first: its time says nothing
                flops[shapes] = model_flops(stage, state, frozen, batch)
            if number % config.log_every == 0 or number == stage.steps:
                share = utilization.take()
                values |= {} if share is None else {"mfu": share}
                bar.set_postfix({name: f"{value:.4g}" for name, value in values.items()}, refresh=False)
                for name, value in values.items():
                    writer.add_scalar(f"{stage.name}/{name}", value, number)
            if picture_batch is not None and (number % config.picture_every == 0 or number == stage.steps):
                _write_picture(stage.picture(merge(state.ema, frozen), picture_batch), number, folder, writer)
            if number % config.checkpoint_every == 0 or number == stage.steps or stop.is_set():
                writer.flush()  # a run that goes on from here will not log these steps again
                checkpoints.save(state, iterator)
            if stop.is_set() and number < stage.steps:
                checkpoints.wait()
                saved = f"{stage.name}: stopped and saved at step {number} of {stage.steps}"
                raise Preempted(f"{saved}; run the same command again to go on from there")
    return state, frozen


def _diverged_message(stage: Stage, number: int, values: dict[str, float], good: int | None, folder: Path) -> str:
    found = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    kept = f"the checkpoint of step {good} is kept in {folder / 'checkpoints'}" if good is not None else "there is no checkpoint yet"
    where = f"{stage.name}: not finite at step {number} (batch {number} of the run's order): {found}"
    return f"{where}; {kept}. Lower the learning rate and run again."


def _write_picture(picture: np.ndarray, number: int, folder: Path, writer: SummaryWriter) -> None:
    writer.add_image(folder.name, picture, number, dataformats="HWC")
    path = folder / "samples" / f"{number:07d}.png"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(picture).save(path)


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """SIGTERM and SIGINT set the event instead of ending the process. Only the main thread may listen to signals."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
