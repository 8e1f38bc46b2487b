"""`python -m train --config pocket --workdir runs/pocket`: trains the stages in order, going on from where the workdir is.

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

import tyro

from train.checkpoints import CheckpointError
from train.configs.paper import PaperTraining
from train.configs.pocket import PocketTraining
from train.configs.refine import RefineTraining
from train.loop import Diverged, LoopConfig, Preempted, export_newest, fit

CONFIGS = {"pocket": PocketTraining, "paper": PaperTraining, "refine": RefineTraining}
T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Generic[T]):
    """Command line; every figure of the configuration is a flag too."""

    workdir: Path
    """Where everything goes; a second start goes on from what is there."""
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
        if arguments.command == "ship":
            if arguments.out is None:
                raise ValueError("ship needs --out, the model folder to write")
            training.ship(workdir, arguments.out)
            return 0
        for name in names:
            if arguments.command == "fit":
                training.prepare(name, workdir)
            stage = training.stage(name, workdir)
            if arguments.steps is not None:
                stage = dataclasses.replace(stage, steps=arguments.steps)
            if arguments.command == "fit":
                fit(stage, workdir, arguments.loop, training)
            else:
                step = export_newest(stage, workdir, arguments.loop)
                print(f"{name}: exported step {step} to {workdir / name / 'params.safetensors'}")
    except Preempted as stopped:
        print(stopped)
        return 0
    except (Diverged, CheckpointError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _stopped_between_steps(*_: Any) -> None:
    """While steps are made, the loop has a handler of its own, which saves."""
    raise Preempted("stopped before or after training, where there is nothing to save; run the same command again to go on from there")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stopped_between_steps)
    sys.exit(main(sys.argv[1:]))
