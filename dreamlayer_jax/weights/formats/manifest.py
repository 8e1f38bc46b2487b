"""manifest.json of a folder that this library wrote: the format's version, what kind of folder it is, the SHA-256 of every other file."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dreamlayer_jax.files import inside, left_by_system, new_folder, write_json
from dreamlayer_jax.strict_json import SchemaError, read_json
from dreamlayer_jax.weights.files.errors import WeightsError

FORMAT = 1
MANIFEST = "manifest.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """What manifest.json holds."""

    format: int
    sha256: dict[str, str]
    """By the file's path in the folder, with "/" between its parts."""
    kind: str = "model"


@contextmanager
def checked_folder(folder: Path, kind: str) -> Iterator[Path]:
    """Gives a temporary folder to fill; adds the manifest and puts it in place when all is written (see `files.new_folder`).

    Raises FileExistsError if `folder` is there already with anything in it.
    """
    with new_folder(folder, listing=None) as temporary:
        yield temporary
        for path in temporary.rglob("*.safetensors"):
            path.chmod(0o644)
        sums = {name: _sha256(temporary / name) for name in _files(temporary)}
        write_json(temporary / MANIFEST, {"format": FORMAT, "kind": kind, "sha256": sums}, indent=1)


def check_folder(folder: Path, kind: str) -> None:
    """Raises `WeightsError` unless the manifest says this format and `kind`, and lists every file there is, each with its checksum."""
    for path, expected in listed_sums(folder, kind).items():
        if _sha256(path) != expected:
            raise WeightsError(f"{path} is damaged: its checksum is not the manifest's; copy the model again")


def listed_sums(folder: Path, kind: str) -> dict[Path, str]:
    """The checksum that the manifest gives each file; reads the manifest alone. Raises `WeightsError` as `check_folder`, but for sums."""
    path = folder / MANIFEST
    try:
        manifest = read_json(path, Manifest, unknown="ignore")
        listed = {name: inside(folder, name) for name in manifest.sha256}
    except FileNotFoundError as error:
        raise WeightsError(f"{folder} is not a DreamLayer {kind} folder: it has no {MANIFEST}") from error
    except (SchemaError, OSError) as error:
        raise WeightsError(f"{path} is damaged ({error}); copy the model again") from error
    except ValueError as error:
        raise WeightsError(f"{path} is not to be trusted: {error}") from error
    if manifest.format != FORMAT:
        raise WeightsError(f"{folder} has format {manifest.format}; this version reads format {FORMAT}: update dreamlayer_jax")
    if manifest.kind != kind:
        raise WeightsError(
            f"{folder} holds a {manifest.kind}, not a {kind}; what was trained is laid over its base: from_pretrained(base, trained=folder)"
        )
    if unlisted := sorted(set(_files(folder)) - set(listed)):
        raise WeightsError(
            f"{folder} holds what its {MANIFEST} does not list ({', '.join(unlisted[:3])}): take it out, or copy the model again"
        )
    for name, path in listed.items():
        if not path.is_file():
            raise WeightsError(f"{folder / name} is missing; copy the model again")
    return {folder / name: manifest.sha256[name] for name in listed}


def _files(folder: Path) -> list[str]:
    """Every file that a manifest is to list. Hidden ones are never read: those of file managers, of git, of the hub's downloads."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir())
    names = [path.relative_to(folder) for path in paths if not left_by_system(path.name)]
    return [name.as_posix() for name in names if name.as_posix() != MANIFEST and not any(part.startswith(".") for part in name.parts)]


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
