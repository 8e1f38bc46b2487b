"""Model folders from anywhere: what their files name is read in the folder alone, and what they do not name is not read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import save_file

from dreamlayer_jax.weights.files import tensor_files
from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.files.tensor_files import load_safetensors, write_tensors
from dreamlayer_jax.weights.formats.manifest import check_folder, checked_folder

INDEX = "model.safetensors.index.json"


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """A folder with an index of one shard, and a good file outside it."""
    folder = tmp_path / "model"
    folder.mkdir()
    for place in (folder / "shard.safetensors", tmp_path / "outside.safetensors"):
        save_file({"a": np.zeros(2, np.float32)}, place)
    name_shard(folder, "shard.safetensors")
    assert list(load_safetensors(folder / INDEX)) == ["a"]
    return folder


def name_shard(folder: Path, name: object) -> None:
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": {"a": name}}))


@pytest.mark.parametrize("name", ["../outside.safetensors", "/outside.safetensors", "x/../../outside.safetensors", "", "a\0b", "a" * 5000])
def test_a_shard_is_in_the_folder_by_its_name(sharded: Path, name: str) -> None:
    name_shard(sharded, str(sharded.parent) + name if name.startswith("/") else name)
    with pytest.raises(WeightsError, match="is not to be trusted: the name"):
        load_safetensors(sharded / INDEX)


@pytest.mark.parametrize("link", [lambda there, here: here.symlink_to(there), lambda there, here: os.link(there, here)])
def test_a_shard_is_no_link_to_elsewhere(sharded: Path, link: Callable[[Path, Path], None]) -> None:
    (sharded / "shard.safetensors").unlink()
    link(sharded.parent / "outside.safetensors", sharded / "shard.safetensors")
    with pytest.raises(WeightsError, match=r"is not to be trusted: .*is a (hard )?link"):
        load_safetensors(sharded / INDEX)


def test_what_the_hubs_cache_links_to_is_inside(tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "0123", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    save_file({"a": np.zeros(2, np.float32)}, blobs / "4567")
    (snapshot / "shard.safetensors").symlink_to("../../blobs/4567")
    name_shard(snapshot, "shard.safetensors")
    assert list(load_safetensors(snapshot / INDEX)) == ["a"]


def test_a_shard_is_a_regular_file(sharded: Path) -> None:
    (sharded / "shard.safetensors").unlink()
    os.mkfifo(sharded / "shard.safetensors")
    with pytest.raises(WeightsError, match="is no regular file"):
        load_safetensors(sharded / INDEX)


@pytest.mark.parametrize("tree", [[], {"weight_map": []}, {"weight_map": {"a": 3}}, {"weight_map": {"a": None}}, {}, "[" * 10_000])
def test_a_damaged_index_is_one_line(sharded: Path, tree: object) -> None:
    (sharded / INDEX).write_text(tree if isinstance(tree, str) else json.dumps(tree))
    with pytest.raises(WeightsError, match=r"index\.json is damaged") as refused:
        load_safetensors(sharded / INDEX)
    assert "\n" not in str(refused.value)


@pytest.fixture
def checked(tmp_path: Path) -> Path:
    with checked_folder(tmp_path / "model", "model") as folder:
        (folder / "config.json").write_text("{}")
        (folder / "tokenizer").mkdir()
        (folder / "tokenizer" / "vocab.json").write_text("{}")
    check_folder(tmp_path / "model", "model")
    return tmp_path / "model"


def with_sums(folder: Path, change: Callable[[dict[str, str]], dict[str, object]]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"] = change(manifest["sha256"])
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda sums: {}, r"holds what its manifest.json does not list \(config.json, tokenizer/vocab.json\)"),
        (lambda sums: {"config.json": sums["config.json"]}, r"does not list \(tokenizer/vocab.json\)"),
        (lambda sums: sums | {"../secret": "0"}, "is not to be trusted: the name '../secret' leads out"),
        (lambda sums: sums | {"/etc/passwd": "0"}, "is not to be trusted: the name '/etc/passwd' leads out"),
        (lambda sums: sums | {"gone.json": "0"}, "gone.json is missing"),
        (lambda sums: sums | {"config.json": "0"}, "config.json is damaged: its checksum"),
        (lambda sums: sums | {"config.json": 3}, "manifest.json: sha256.config.json is 3"),
    ],
)
def test_a_folder_holds_what_its_manifest_lists(checked: Path, change: Callable[[dict], dict], said: str) -> None:
    with_sums(checked, change)
    with pytest.raises(WeightsError, match=said):
        check_folder(checked, "model")


def test_an_added_file_is_not_used_but_a_file_managers_is_nobodys_business(checked: Path) -> None:
    (checked / ".DS_Store").touch()
    (checked / "tokenizer" / "Thumbs.db").touch()
    check_folder(checked, "model")
    (checked / "tokenizer" / "tokenizer.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"does not list \(tokenizer/tokenizer.json\)"):
        check_folder(checked, "model")


def test_a_full_disk_is_an_error_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(tensor_files, "save_file", full)
    with pytest.raises(OSError, match=r"a\.safetensors could not be written .*No space left on device.*is the disk full"):
        write_tensors(tmp_path / "a.safetensors", {})


def test_a_persons_folder_called_partial_stays(tmp_path: Path) -> None:
    (tmp_path / "model.partial").mkdir()
    (tmp_path / "model.partial" / "notes.txt").write_text("mine")
    with checked_folder(tmp_path / "model", "model") as folder:
        (folder / "config.json").write_text("{}")
    assert (tmp_path / "model.partial" / "notes.txt").read_text() == "mine"
