"""Several processes on loopback, each with virtual devices of its own, are one training: against one process on one device."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.train.test_kills import PATIENCE, REPOSITORY, logged
from tests.train.test_loop import uninterrupted
from train.batches import Part, part_of_process
from train.export import load_params
from train.processes import Cluster, several_tasks
from train.stage import Params

__all__ = ["uninterrupted"]  # a fixture


def start(workdir: Path, processes: int, devices: int, *flags: str) -> list[subprocess.Popen[str]]:
    """The linear problem in that many processes with that many devices each."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    options = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": options}
    started = []
    for number in range(processes):
        command = [sys.executable, "-m", "tests.train.line_program", "--workdir", str(workdir), *flags]
        if processes > 1:
            command += [
                "--cluster.coordinator",
                f"localhost:{port}",
                "--cluster.processes",
                str(processes),
                "--cluster.process",
                str(number),
            ]
        started.append(
            subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
    return started


def finish(programs: list[subprocess.Popen[str]]) -> str:
    """What the first printed. All must end well."""
    try:
        printed = [program.communicate(timeout=PATIENCE)[0] for program in programs]
    finally:
        for program in programs:
            program.kill()
    for program, text in zip(programs, printed, strict=True):
        assert program.returncode == 0, text
    return printed[0]


def losses(workdir: Path) -> dict[int, float]:
    return logged(workdir, "line")["line/loss"]


def test_two_processes_are_one(uninterrupted: tuple[Path, Params], tmp_path: Path) -> None:
    """Parameters divided over all devices of both."""
    finish(start(tmp_path, 2, 2, "--mesh", "data=4"))
    found, expected = (load_params(folder / "line" / "params.safetensors") for folder in (tmp_path, uninterrupted[0]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected)
    assert len(list((tmp_path / "line" / "tensorboard").iterdir())) == 1
    one = logged(uninterrupted[0], "line")["line/loss"]
    np.testing.assert_allclose([losses(tmp_path)[step] for step in one], list(one.values()), rtol=1e-5)


@pytest.mark.slow
def test_a_process_killed_and_the_job_started_again_ends_as_if_nothing_had_happened(
    uninterrupted: tuple[Path, Params], tmp_path: Path
) -> None:
    """On the same mesh bit for bit; from the same checkpoint also with one process, and on another mesh."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(whole, 2, 2, "--mesh", "data=4"))
    programs = start(killed, 2, 2, "--mesh", "data=4", "--kill-process", "1", "--kill-at", "7")
    programs[1].communicate(timeout=PATIENCE)
    assert programs[1].returncode == -9
    programs[0].kill()  # the job's scheduler ends what is left of it
    programs[0].communicate()
    elsewhere = tmp_path / "elsewhere"
    subprocess.run(["cp", "-r", killed, elsewhere], check=True)

    assert "resuming at step 4" in finish(start(killed, 2, 2, "--mesh", "data=4"))
    assert losses(killed) == losses(whole)
    assert (killed / "line" / "params.safetensors").read_bytes() == (whole / "line" / "params.safetensors").read_bytes()

    assert "resuming at step 4" in finish(start(elsewhere, 1, 4, "--mesh", "data=2,layer=2"))
    assert list(losses(elsewhere)) == list(losses(whole))
    np.testing.assert_allclose(list(losses(elsewhere).values()), list(losses(whole).values()), rtol=1e-5)


def test_a_process_reads_the_rows_that_its_devices_hold() -> None:
    class Device:
        def __init__(self, process: int) -> None:
            self.process_index = process

    class Sharding:
        def __init__(self, spec: tuple, held: dict[int, list[int]], pieces: int) -> None:
            self.spec, self._held = spec, held
            self.mesh = type("Mesh", (), {"shape": {"data": pieces, "layer": 1}})

        def devices_indices_map(self, _: tuple[int]) -> dict:
            return {Device(process): (slice(row, row + 1),) for process, rows in self._held.items() for row in rows}

    assert part_of_process(None) == Part(0, 1)
    assert part_of_process(Sharding(("data",), {0: [0, 1], 1: [2, 3]}, 4)) == Part(0, 2)
    assert part_of_process(Sharding(("data",), {1: [0, 1], 0: [2, 3]}, 4)) == Part(1, 2)
    assert part_of_process(Sharding(("data",), {0: [0, 1], 1: [0, 1]}, 2)) == Part(0, 1)
    with pytest.raises(ValueError, match="an equal run"):
        part_of_process(Sharding(("data",), {0: [0, 2], 1: [1, 3]}, 4))


def test_how_processes_find_each_other() -> None:
    assert several_tasks({"SLURM_STEP_NUM_TASKS": "4"})
    assert several_tasks({"TPU_WORKER_HOSTNAMES": "a,b"})
    assert not several_tasks({"SLURM_STEP_NUM_TASKS": "1", "TPU_WORKER_HOSTNAMES": "localhost"})
    with pytest.raises(ValueError, match="give the coordinator's address, the number of processes and this process's number together"):
        Cluster(coordinator="localhost:1")
    with pytest.raises(ValueError, match=r"process is 2, but there are 2 processes"):
        Cluster(coordinator="localhost:1", processes=2, process=2)
