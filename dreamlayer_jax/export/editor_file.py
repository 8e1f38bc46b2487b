"""A scene as one file for an image editor, written all at once: an interruption leaves the old file."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from dreamlayer_jax.request import RequestError
from dreamlayer_jax.scene import Scene

EditorFormat = Literal["psd", "ora"]


def write_editor_file(image: Scene, path: str | Path, *, shadow: bool = False, overwrite: bool = False) -> Path:
    """Writes a .psd or .ora file, as the name says, and returns its path.

    Args:
        image: the scene.
        path: of the file; missing folders above it are made.
        shadow: adds the layers that turn the blend into the harmonised composite (see `editor_layers`).
        overwrite: replace a file that is there.

    Raises:
        FileExistsError: there is a file already, or a folder.
        RequestError: the name ends in neither .psd nor .ora, or `shadow` is asked for and the scene has no composite.
    """
    path = Path(path)
    format = format_of(path)
    with new_file(path, overwrite=overwrite) as temporary:
        write_format(image, temporary, format, shadow=shadow)
    return path


def write_format(image: Scene, path: Path, format: EditorFormat, *, shadow: bool = False) -> None:
    """Writes `path` in `format`, whatever the name."""
    if format == "psd":
        from dreamlayer_jax.export.psd import write_psd

        write_psd(image, path, shadow=shadow)
    else:
        from dreamlayer_jax.export.openraster import write_openraster

        write_openraster(image, path, shadow=shadow)


def format_of(path: Path) -> EditorFormat:
    """The format that a file's name promises. Raises `RequestError` for any but the known ones."""
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in get_args(EditorFormat):
        raise RequestError(f"{path} must end in .psd or .ora")
    return suffix


def require_free_file(path: str | Path, *, overwrite: bool) -> None:
    """Raises `FileExistsError` unless the file can be written: absent, or a file and `overwrite`."""
    path = Path(path)
    if path.is_dir():
        raise FileExistsError(f"{path} is a folder; the output must be a file")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} is there already; choose another name, or give --overwrite (overwrite=True) to replace it")


@contextlib.contextmanager
def new_file(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Gives a temporary path to write; when the block ends well it becomes `path`, otherwise it is removed."""
    target = Path(path).resolve()
    require_free_file(target, overwrite=overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.new"
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
