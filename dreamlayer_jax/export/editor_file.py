"""A scene as one file for an image editor, written all at once: an interruption leaves the old file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from dreamlayer_jax.files import new_file
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
