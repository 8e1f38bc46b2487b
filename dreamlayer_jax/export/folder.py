"""Writing a folder all at once: a temporary sibling is filled, then renamed into place. An interruption leaves the old one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

SCENE_FILE = "scene.json"


def require_free(folder: str | Path, *, overwrite: bool) -> None:
    """Raises `FileExistsError` unless `folder` can be written: absent, empty, or (with `overwrite`) holding only what we wrote.

    Overwriting deletes, so a folder with anything else in it is refused even then.
    """
    folder = Path(folder)
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; the output must be a folder")
    if not any(folder.iterdir()):
        return
    if not overwrite:
        raise FileExistsError(f"{folder} is not empty; choose another folder, or give --overwrite (overwrite=True) to replace it")
    strangers = _strangers(folder)
    if strangers:
        raise FileExistsError(
            f"{folder} holds more than an earlier scene ({', '.join(strangers[:3])}), which overwriting would delete; choose another folder"
        )


@contextlib.contextmanager
def new_folder(folder: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Gives a temporary folder to fill; when the block ends well it becomes `folder`, otherwise it is removed."""
    target = Path(folder).resolve()
    require_free(target, overwrite=overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    mark = uuid.uuid4().hex[:8]
    temporary, old = (target.parent / f".{target.name}.{mark}.{kind}" for kind in ("new", "old"))
    temporary.mkdir()
    try:
        yield temporary
        replaced = target.exists()
        if replaced:
            os.rename(target, old)
        try:
            os.rename(temporary, target)
        except BaseException:
            if replaced:
                os.rename(old, target)
            raise
        if replaced:
            shutil.rmtree(old)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _strangers(folder: Path) -> list[str]:
    """Names in `folder` that no earlier save put there. Saves put scene folders, and folders of scene folders."""
    scene = folder / SCENE_FILE
    known: set[str] = {SCENE_FILE}
    if scene.is_file():
        try:
            known.update(json.loads(scene.read_text())["files"])
        except (ValueError, KeyError, TypeError):
            return [f"an unreadable {SCENE_FILE}"]
    strangers = []
    for entry in sorted(folder.iterdir()):
        if entry.name in known and entry.is_file():
            continue
        ours = entry.is_dir() and not entry.is_symlink() and (entry / SCENE_FILE).is_file() and not _strangers(entry)
        if not ours:
            strangers.append(entry.name)
    return strangers
