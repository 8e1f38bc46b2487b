"""`python -m tests.train.line_program`: the small linear problem of test_loop as a program, which tests start in several processes."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from pathlib import Path

import jax
import tyro

import dreamlayer_jax.place
from dreamlayer_jax.place import FSDP, Place, make_place
from train.processes import Cluster, join


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """Where it runs, and which of its processes is killed at which step."""

    workdir: Path
    mesh: str
    kill_process: int = -1
    kill_at: int = 0
    cluster: Cluster = Cluster()


def main(program: Program) -> None:
    """Trains to the end, unless killed."""
    join(program.cluster)
    from tests.train.test_loop import LOOP, Line
    from train.loop import fit

    dreamlayer_jax.place.LEAST_SHARDED = 1  # its arrays are small; divided they must be all the same

    class Placed(Line):
        place: Place = make_place(program.mesh, "float32", rules=FSDP)

        def _maybe_disturb(self, step: jax.Array) -> None:
            if int(step) + 1 == program.kill_at and jax.process_index() == program.kill_process:
                os.kill(os.getpid(), signal.SIGKILL)

    fit(Placed(terminate_at_step=program.kill_at or 10**6), program.workdir, dataclasses.replace(LOOP, log_every=1))


if __name__ == "__main__":
    main(tyro.cli(Program, args=sys.argv[1:]))
