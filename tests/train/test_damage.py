"""Files that a disk, a person or a second program has damaged: found, named in one line, and never trained on or shipped."""

from __future__ import annotations

import gc
import json
import random
import re
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from tests.train.test_latents import encoder, folder, shards
from tests.train.test_loop import LOOP, Line, uninterrupted
from train.__main__ import main
from train.checkpoints import Checkpoints
from train.export import exported_step, load_params, save_params
from train.latents import Encoder, build_latents, open_latents
from train.lock import locked
from train.loop import fit
from train.state import create
from train.tokenizer import build_tokenizer

__all__ = ["encoder", "folder", "uninterrupted"]  # fixtures


def flip(path: Path, byte: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 1 << bit
    path.write_bytes(content)


class At:
    """A data iterator that knows where it is."""

    def __init__(self, place: int) -> None:
        self.place = place

    def get_state(self) -> dict[str, int]:
        return {"place": self.place}

    def set_state(self, state: dict[str, int]) -> None:
        self.place = state["place"]


# TensorStore's own threads go on failing after the error has reached us.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("state/**/d/*", "checksums of its state differ"),
        ("state/_METADATA", ""),
        ("state/manifest.ocdbt", ""),
        ("data/metadata", "checksums of its data differ"),
        ("checks/metadata", "checksums of its (state|data) differ"),
    ],
)
def test_a_flipped_bit_in_a_checkpoint_is_found_and_the_older_one_read(
    part: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the middle of an array's values, which TensorStore reads without an error; a digit in JSON, which stays well formed."""
    state = create({"w": jax.random.normal(jax.random.key(0), (2**16,))}, optax.sgd(0.1), seed=0)
    checkpoints = Checkpoints(tmp_path / "c")
    for step in (1, 2):
        checkpoints.save(state.replace(step=jnp.asarray(step)), At(10 * step))
    checkpoints.wait()
    damaged = max((tmp_path / "c" / "2").glob(part), key=lambda path: path.stat().st_size)
    content = damaged.read_bytes()
    digits = [place for place, byte in enumerate(content) if chr(byte).isdigit()]
    flip(damaged, digits[-1] if damaged.name == "metadata" else len(content) // 2, 0)
    iterator = At(0)
    restored = checkpoints.restore(state, iterator)
    checkpoints.close()
    gc.collect()
    assert (int(restored.step), iterator.place) == (1, 10)
    assert re.search(rf"checkpoint 2 cannot be read \(.*{reason}", capsys.readouterr().out, re.DOTALL)


def test_equal_parameters_are_equal_bytes(tmp_path: Path) -> None:
    path, found = tmp_path / "params.safetensors", set()
    for _ in range(20):
        save_params(path, {"a": np.arange(3, dtype=np.float32)}, 7)
        found.add(path.read_bytes())
    assert len(found) == 1
    assert exported_step(path) == 7


def test_the_step_of_an_older_release_is_read(tmp_path: Path) -> None:
    """It was an entry of its own, first alone, then beside the digest."""
    save_params(tmp_path / "new", {"a": np.ones(1, np.float32)}, 7)
    with safe_open(tmp_path / "new", "numpy") as file:
        digest = json.loads(file.metadata()["facts"])["digest"]
    for older in ({"step": "7"}, {"step": "7", "digest": digest}):
        save_file({"a": np.ones(1, np.float32)}, tmp_path / "old", older)
        assert exported_step(tmp_path / "old") == 7
        assert load_params(tmp_path / "old")["a"] == 1


def test_flipped_bits_in_exported_parameters_are_found(tmp_path: Path) -> None:
    path, rng = tmp_path / "stage" / "params.safetensors", random.Random(0)
    params = {"a": {"kernel": np.arange(64, dtype=np.float32).reshape(8, 8)}, "b": np.ones(5, np.float32)}
    save_params(path, params, 7)
    whole = path.read_bytes()
    for _ in range(256):
        flip(path, rng.randrange(8, len(whole)), rng.randrange(8))
        with pytest.raises(ValueError, match=r"params.safetensors is damaged"):
            load_params(path)
        path.write_bytes(whole)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"params.safetensors is damaged .*: write it again from the checkpoint"):
        load_params(path)


def test_flipped_bits_in_the_latents_are_found_when_read(encoder: Encoder, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "latents")
    path, rng = tmp_path / "latents" / "00000_latents_k2.npy", random.Random(0)
    whole = path.read_bytes()
    for _ in range(32):
        flip(path, rng.randrange(128, len(whole)), rng.randrange(8))
        scenes = open_latents(tmp_path / "latents", 2)[2]
        with pytest.raises(ValueError, match=r"00000_latents_k2.npy, or its checksum, is damaged .*: remove 00000.json beside it"):
            [scenes[n] for n in range(len(scenes))]
        path.write_bytes(whole)
    flip(path, 100, 3)  # of the header
    (tmp_path / "latents" / "00000.json").unlink()
    build_latents(encoder, shards(), tmp_path / "latents")
    assert path.read_bytes() == whole


def test_parameters_that_are_not_finite_are_not_exported(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"was not written: 1 of 2 arrays are not finite, a/kernel"):
        save_params(tmp_path / "params.safetensors", {"a": {"kernel": np.array([1, np.inf], np.float32)}, "b": np.ones(1, np.float32)})
    assert not list(tmp_path.iterdir())


def test_a_full_disk_while_exporting_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors import SafetensorError

    def full(*_: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("train.export.save_file", full)
    with pytest.raises(OSError, match=r"could not be written \(I/O error: No space left.*is the disk full"):
        save_params(tmp_path / "params.safetensors", {"a": np.ones(1, np.float32)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--loop.log-every", "0"), "log_every is 0; give a number of at least 1"),
        (("--loop.checkpoint-every", "0"), "checkpoint_every is 0"),
        (("--loop.picture-every", "0"), "picture_every is 0"),
        (("--loop.seed", "1" + "0" * 20), "seed is 1"),
        (("--scenes.scenes", "0"), "scenes is 0"),
        (("--scenes.scenes", "-1"), "scenes is -1"),
        (("--scenes.shard-size", "-1"), "shard_size is -1"),
    ],
)
def test_a_value_out_of_bounds_is_refused(flags: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--workdir", str(tmp_path / "run"), *flags])
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_no_steps_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--workdir", str(tmp_path / "run"), "--steps", "0"]) == 1
    assert capsys.readouterr().err == "error: steps is 0; give at least 1\n"
    assert not list(tmp_path.iterdir())


def test_a_second_training_of_a_workdir_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with locked(tmp_path):
        assert main(["--workdir", str(tmp_path), "--stages", "autoencoder"]) == 1
    assert f"another training is running in {tmp_path}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("line/run.json", "[]", "run.json is damaged (it holds list, not an object): move it away"),
        ("line/run.json", "{", "run.json is damaged"),
        ("line/frozen.json", "{", "frozen.json is damaged"),
        ("line/frozen.json", "{}", "trained beside other frozen parameters"),
    ],
)
def test_a_damaged_record_of_a_run_is_one_line(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "line").mkdir()
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=re.escape(message)):
        fit(Line(), tmp_path, LOOP)


def test_a_damaged_tokenizer_is_one_line_and_stays(tmp_path: Path) -> None:
    build_tokenizer(["a red apple"], tmp_path, max_length=16, vocab_limit=1024)
    (tmp_path / "vocab.json").write_text(json.dumps({}))
    with pytest.raises(ValueError, match=r"the tokenizer in .* is damaged"):
        build_tokenizer(["a red apple"], tmp_path, max_length=16, vocab_limit=1024)
    assert (tmp_path / "vocab.json").read_text() == "{}"
