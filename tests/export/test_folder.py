"""A folder is written whole or not at all, and overwriting deletes nothing but earlier output."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dreamlayer_jax.export import folder as folder_module
from dreamlayer_jax.export.folder import new_folder


def write(folder: Path, text: str, *, overwrite: bool = False) -> None:
    with new_folder(folder, overwrite=overwrite) as temporary:
        (temporary / "picture.png").write_text(text)
        (temporary / "scene.json").write_text(json.dumps({"files": ["picture.png"]}))


def everything_in(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_parents_are_made_and_an_empty_folder_is_free(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    write(tmp_path / "a" / "b", "one")
    write(tmp_path / "c" / "d", "two")
    assert set(everything_in(tmp_path)) == {"a/b/picture.png", "a/b/scene.json", "c/d/picture.png", "c/d/scene.json"}


def test_overwrite_replaces_the_whole_folder_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "out", "old")
    with pytest.raises(FileExistsError, match=r"not empty.*--overwrite"):
        write(tmp_path / "out", "new")
    assert everything_in(tmp_path)["out/picture.png"] == "old"
    write(tmp_path / "out", "new", overwrite=True)
    assert everything_in(tmp_path)["out/picture.png"] == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_folders_of_scenes_are_replaced_too(tmp_path: Path) -> None:
    for seed in ("0", "1"):
        write(tmp_path / "out" / seed, "old")
    write(tmp_path / "out", "new", overwrite=True)
    assert set(everything_in(tmp_path)) == {"out/picture.png", "out/scene.json"}


@pytest.mark.parametrize("stranger", ["notes.txt", "0/notes.txt", "folder/notes.txt"])
def test_overwrite_never_deletes_what_it_did_not_write(tmp_path: Path, stranger: str) -> None:
    write(tmp_path / "out" / "0", "old")
    (tmp_path / "out" / stranger).parent.mkdir(exist_ok=True)
    (tmp_path / "out" / stranger).write_text("mine")
    before = everything_in(tmp_path)
    with pytest.raises(FileExistsError, match="holds more than an earlier scene"):
        write(tmp_path / "out", "new", overwrite=True)
    assert everything_in(tmp_path) == before


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(FileExistsError, match="is a file"):
        write(tmp_path / "out", "new", overwrite=True)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError])
def test_an_interrupted_write_leaves_the_old_output(tmp_path: Path, interruption: type[BaseException]) -> None:
    write(tmp_path / "out", "old")
    with pytest.raises(interruption), new_folder(tmp_path / "out", overwrite=True) as temporary:  # noqa: PT012
        (temporary / "picture.png").write_text("half")
        raise interruption
    assert everything_in(tmp_path)["out/picture.png"] == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failed_swap_puts_the_old_output_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "out", "old")
    rename = os.rename

    def fails_for_the_new(source: Path, target: Path) -> None:
        if source.suffix == ".new":
            raise PermissionError("no")
        rename(source, target)

    monkeypatch.setattr(folder_module.os, "rename", fails_for_the_new)
    with pytest.raises(PermissionError):
        write(tmp_path / "out", "new", overwrite=True)
    assert everything_in(tmp_path)["out/picture.png"] == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
