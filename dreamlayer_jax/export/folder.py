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


def require_free(folder: str | Path, *, overwrite: bool, listing: str = SCENE_FILE) -> None:
    """Raises `FileExistsError` unless `folder` can be written: absent, empty, or (with `overwrite`) holding only what we wrote.

    Overwriting deletes, so a folder with anything else in it is refused even then. `listing` is the JSON file that says in "files" what
    an earlier output put there.
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
    strangers = _strangers(folder, listing)
    if strangers:
        what = f"{folder} holds more than an earlier {Path(listing).stem} ({', '.join(strangers[:3])})"
        raise FileExistsError(f"{what}, which overwriting would delete; choose another folder")


@contextlib.contextmanager
def new_folder(folder: str | Path, *, overwrite: bool = False, listing: str = SCENE_FILE) -> Iterator[Path]:
    """Gives a temporary folder to fill; when the block ends well it becomes `folder`, otherwise it is removed.

    `overwrite` and `listing` as in `require_free`.
    """
    target = Path(folder).resolve()
    require_free(target, overwrite=overwrite, listing=listing)
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


def _strangers(folder: Path, listing: str) -> list[str]:
    """Names in `folder` that no earlier save put there. Saves put folders with a `listing`, and folders of such folders."""
    listed = folder / listing
    known: set[str] = {listing}
    if listed.is_file():
        try:
            known.update(json.loads(listed.read_text())["files"])
        except (ValueError, KeyError, TypeError):
            return [f"an unreadable {listing}"]
    strangers = []
    for entry in sorted(folder.iterdir()):
        if entry.name in known and entry.is_file():
            continue
        ours = entry.is_dir() and not entry.is_symlink() and (entry / listing).is_file() and not _strangers(entry, listing)
        if not ours:
            strangers.append(entry.name)
    return strangers
