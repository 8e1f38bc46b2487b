"""`python -m train --config pocket --workdir runs/pocket`: trains the stages in order, resuming from where the workdir is.

`python -m train export --workdir runs/pocket --stages diffusion` writes the parameters of a run that is still going;
`python -m train ship --workdir runs/pocket --out DIR` joins the exported stages into a model folder.
"""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import jax
import tyro

from dreamlayer_jax.place import FSDP, REPLICATED, make_place
from train.checkpoints import CheckpointError
from train.configs.paper import PaperTraining
from train.configs.pocket import PocketTraining
from train.configs.refine import RefineTraining
from train.lock import locked
from train.loop import Diverged, LoopConfig, Preempted, export_newest, fit
from train.processes import Cluster, join

CONFIGS = {"pocket": PocketTraining, "paper": PaperTraining, "refine": RefineTraining}
T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Generic[T]):
    """Command line; every value of the configuration is a flag too."""

    workdir: Path
    """Where everything goes; a second start resumes from what is there."""
    command: Annotated[Literal["fit", "export", "ship"], tyro.conf.Positional] = "fit"
    """`fit` trains; `export` writes the newest checkpoint's parameters; `ship` makes a model folder out of the exported stages."""
    out: Path | None = None
    """Where `ship` writes the model folder."""
    config: str = "pocket"
    """Which configuration of `train/configs`."""
    stages: tuple[str, ...] = ()
    """Stages to run, in order; all of the configuration's if none is given."""
    steps: int | None = None
    """Steps of every stage that runs, instead of the configuration's."""
    loop: LoopConfig = LoopConfig()
    mesh: str | None = None
    """Devices by scenes and layers, such as data=4,layer=2; -1 for the rest of them. One device without it."""
    params: Literal["replicated", "fsdp"] = "replicated"
    """On a mesh: parameters, gradients, optimizer state and average whole on every device, or divided over the axis data."""
    exchange: Literal["gather", "ring"] = "gather"
    """On a mesh: keys and values of other devices' layers all at once, or passed round a ring, which needs less memory."""
    cluster: Cluster = Cluster()
    training: Annotated[T, tyro.conf.arg(name="")]


def main(argv: list[str]) -> int:
    """The process's exit code."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config", choices=sorted(CONFIGS), default="pocket")
    kind = CONFIGS[finder.parse_known_args(argv)[0].config]
    arguments = tyro.cli(Arguments[kind], args=argv, prog="python -m train", description=sys.modules[kind.__module__].__doc__)
    training, workdir = arguments.training, arguments.workdir
    names = arguments.stages or training.stages
    unknown = [name for name in names if name not in training.stages]
    if unknown:
        print(f"unknown stages {', '.join(unknown)}; {arguments.config} has {', '.join(training.stages)}", file=sys.stderr)
        return 2
    try:
        join(arguments.cluster)
        if arguments.command == "ship":
            if arguments.out is None:
                raise ValueError("ship needs --out, the model folder to write")
            training.ship(workdir, arguments.out)
        elif arguments.command == "export":
            for name in names:
                step = export_newest(training.stage(name, workdir), workdir, arguments.loop)
                print(f"{name}: exported step {step} to {workdir / name / 'params.safetensors'}")
        else:
            if arguments.steps is not None and arguments.steps < 1:
                raise ValueError(f"steps is {arguments.steps}; give at least 1")
            rules = FSDP if arguments.params == "fsdp" else REPLICATED
            place = make_place(arguments.mesh or _all_devices(), training.dtype, arguments.exchange, rules)
            with locked(workdir):
                for name in names:
                    training.prepare(name, workdir)
                    stage = dataclasses.replace(training.stage(name, workdir), place=place)
                    stage = stage if arguments.steps is None else dataclasses.replace(stage, steps=arguments.steps)
                    fit(stage, workdir, arguments.loop, training)
    except Preempted as stopped:
        print(stopped)
        return 0
    except (Diverged, CheckpointError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _all_devices() -> str | None:
    """The mesh where none is given: none on one machine, scenes over all devices of several."""
    return None if jax.process_count() == 1 else "data=-1"


def _stopped_between_steps(*_: Any) -> None:
    """While steps are made, the loop has a handler of its own, which saves."""
    raise Preempted("stopped before or after training, where there is nothing to save; run the same command again to resume from there")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stopped_between_steps)
    sys.exit(main(sys.argv[1:]))
