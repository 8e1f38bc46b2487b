"""The real program, killed for real: `kill -9` at any moment, also while saving, and it ends as the uninterrupted run, bit for bit.

`make kills` does it 20 times (KILLS=20) and prints the tally.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

REPOSITORY = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("KILLS", "2"))  # one while saving, one of a run that has already resumed
STEPS = 20 * (KILLS + 2)
PATIENCE = 300.0  # seconds until a started program must have got somewhere
FLAGS = (
    "--config", "pocket", "--stages", "autoencoder", "--steps", str(STEPS),
    "--loop.log-every", "1", "--loop.checkpoint-every", "2", "--loop.picture-every", "1000000",
    "--scenes.scenes", "4", "--scenes.world", "shapes", "--scenes.size", "16", "--scenes.shard-size", "4",
    "--held-out.scenes", "4", "--held-out.world", "shapes", "--held-out.size", "16", "--held-out.shard-size", "4",
    "--autoencoder-scenes", "4", "--autoencoder-batch", "2", "--autoencoder-optimizer.matrices", "adam",
    "--model.sample-size", "16", "--model.vae.block-out-channels", "4", "--model.vae.norm-num-groups", "2",
)  # fmt: skip

log = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Compiled programs are kept between starts, which are many."""
    kept = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return os.environ | kept | {"PYTHONPATH": str(REPOSITORY)}


def start(workdir: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    command = (sys.executable, "-m", "train", *FLAGS, "--workdir", str(workdir))
    return subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(program: subprocess.Popen[str]) -> str:
    """What it printed. It must end by itself, with 0."""
    printed, _ = program.communicate(timeout=PATIENCE)
    assert program.returncode == 0, printed
    return printed


def wait_for(program: subprocess.Popen[str], workdir: Path, saving: bool) -> None:
    """Returns when the program has finished a checkpoint of its own or, if `saving`, while it writes one."""
    folder = workdir / "autoencoder" / "checkpoints"
    before, end = names(folder), time.monotonic() + PATIENCE
    while not any(saving != name.isdigit() for name in names(folder) - before):
        assert program.poll() is None, f"the program ended before it could be interrupted:\n{program.communicate()[0]}"
        assert time.monotonic() < end, "no checkpoint"
        time.sleep(0.001)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def half_written(workdir: Path) -> bool:
    """Whether there is a checkpoint, newer than all whole ones, that never came to its end."""
    found = names(workdir / "autoencoder" / "checkpoints")
    whole = max((int(name) for name in found if name.isdigit()), default=0)
    return any(int(name.split(".")[0]) > whole for name in found if not name.isdigit())


def logged(workdir: Path, stage: str = "autoencoder") -> dict[str, dict[int, float]]:
    """Scalars by tag and step, as TensorBoard shows them: a start hides what the one before logged from its first step on."""
    found: dict[str, dict[int, float]] = {}
    for file in sorted((workdir / stage / "tensorboard").iterdir()):
        content, place = file.read_bytes(), 0
        while place + 12 <= len(content):
            (length,) = struct.unpack_from("<Q", content, place)
            if place + length + 16 > len(content):
                break  # the record that was being written when the program was killed
            event = Event.FromString(content[place + 12 : place + 12 + length])
            place += length + 16
            if event.HasField("session_log"):
                found = {tag: {step: value for step, value in scalars.items() if step < event.step} for tag, scalars in found.items()}
            for value in event.summary.value:
                if not value.tag.endswith("mfu"):  # a time
                    found.setdefault(value.tag, {})[event.step] = value.simple_value
    return {tag: scalars for tag, scalars in found.items() if scalars}


def test_killed_and_started_again_it_ends_as_if_nothing_had_happened(environment: dict[str, str], tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(whole, environment))
    moments = random.Random()
    while_saving = resumed = 0
    for number in range(KILLS):
        program = start(killed, environment)
        wait_for(program, killed, saving=False)
        if number % 2:
            time.sleep(moments.uniform(0, 0.3))
        else:
            wait_for(program, killed, saving=True)
        program.send_signal(signal.SIGKILL)
        printed, _ = program.communicate()
        assert program.returncode == -signal.SIGKILL, f"kill {number} came too late:\n{printed}"
        while_saving += half_written(killed)
        resumed += "resuming at step" in printed

    program = start(killed, environment)
    wait_for(program, killed, saving=False)
    program.send_signal(signal.SIGTERM)
    assert f"of {STEPS}; run the same command again to resume from there" in finish(program)
    assert "resuming at step" in finish(start(killed, environment))

    assert names(killed / "autoencoder" / "checkpoints") == names(whole / "autoencoder" / "checkpoints")
    for name in ("params.safetensors", "config.json"):
        assert (killed / "autoencoder" / name).read_bytes() == (whole / "autoencoder" / name).read_bytes()
    expected, found = logged(whole), logged(killed)
    assert set(expected["autoencoder/loss"]) == set(range(1, STEPS + 1))
    assert found == expected
    compared = sum(len(scalars) for scalars in found.values())
    log.info(
        "%d kills, %d of them with a checkpoint half written and %d of runs already resumed, then a SIGTERM: weights and %d logs equal",
        KILLS, while_saving, resumed, compared,
    )  # fmt: skip
