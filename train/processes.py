"""Several processes, one a machine, train as one: how they find each other, and what only the first of them does."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable, Mapping

import jax
import orbax.checkpoint as ocp

_PATIENCE = 24 * 3600  # seconds that processes wait for one another: one may render or encode for long
_meetings = itertools.count()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cluster:
    """How the processes of a run find each other. On one machine, nothing of this is needed."""

    coordinator: str | None = None
    """Address and port of the first process, such as 10.0.0.1:1234, the same in every process; then `processes` and `process` too."""
    processes: int | None = None
    """How many processes there are."""
    process: int | None = None
    """Which of them this one is, from 0."""
    detect: bool | None = None
    """Whether JAX asks the machine itself (Cloud TPU, SLURM, MPI, Kubernetes). By default, where the environment names several tasks."""

    def __post_init__(self) -> None:
        given = [value is not None for value in (self.coordinator, self.processes, self.process)]
        if any(given) and not all(given):
            raise ValueError("give the coordinator's address, the number of processes and this process's number together, or none of them")
        if self.process is not None and not 0 <= self.process < self.processes:
            raise ValueError(f"process is {self.process}, but there are {self.processes} processes: give a number from 0")


def join(cluster: Cluster, environment: Mapping[str, str] = os.environ) -> None:
    """Makes one JAX of all processes; to be called before JAX is used. Nothing happens where there is but one. ValueError if it fails."""
    detect = several_tasks(environment) if cluster.detect is None else cluster.detect
    if cluster.coordinator is None and not detect:
        return
    try:
        jax.distributed.initialize(cluster.coordinator, cluster.processes, cluster.process)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"the processes did not find each other ({reason}); give --cluster.coordinator and the rest") from error


def several_tasks(environment: Mapping[str, str]) -> bool:
    """Whether SLURM, MPI or a TPU pod says, in its own variables, that this process is one of several."""
    tasks = (environment.get(name, "1") for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"))
    return any(number.isdigit() and int(number) > 1 for number in tasks) or "," in environment.get("TPU_WORKER_HOSTNAMES", "")


def is_first() -> bool:
    """Whether this process is the one that writes for all."""
    return jax.process_index() == 0


def wait_for_all(what: str) -> None:
    """Returns when every process has come to `what`; at once where there is but one. No device takes part."""
    if jax.process_count() > 1:
        meet = ocp.multihost.get_barrier_sync_fn()
        meet(key=f"{what} {next(_meetings)}", timeout_ms=_PATIENCE * 1000)


def by_first(work: Callable[[], object], what: str) -> None:
    """The first process does `work`; the others wait until it is done, and read what it wrote."""
    if is_first():
        work()
    wait_for_all(what)
