"""manifest.json of a folder that this library wrote: the format's version, what kind of folder it is, the SHA-256 of every other file."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dreamlayer_jax.weights.files.errors import WeightsError

FORMAT = 1
MANIFEST = "manifest.json"


@contextmanager
def checked_folder(folder: Path, kind: str) -> Iterator[Path]:
    """Gives a temporary folder to fill beside `folder`; adds the manifest and renames it when all is written.

    Raises FileExistsError if `folder` is there already.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists; remove it or choose another folder")
    temporary = folder.with_name(folder.name + ".partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    yield temporary
    sums = {str(path.relative_to(temporary)): _sha256(path) for path in sorted(temporary.rglob("*")) if path.is_file()}
    for path in temporary.rglob("*.safetensors"):
        path.chmod(0o644)
    (temporary / MANIFEST).write_text(json.dumps({"format": FORMAT, "kind": kind, "sha256": sums}, indent=1) + "\n", encoding="utf-8")
    os.rename(temporary, folder)


def check_folder(folder: Path, kind: str) -> None:
    """Raises `WeightsError` unless the manifest says this format and `kind`, and every file is there with its checksum."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version, found, sums = manifest["format"], manifest.get("kind", "model"), manifest["sha256"].items()
    except FileNotFoundError as error:
        raise WeightsError(f"{folder} is not a DreamLayer {kind} folder: it has no {MANIFEST}") from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise WeightsError(f"{path} is damaged ({error!r}); copy the model again") from error
    if version != FORMAT:
        raise WeightsError(f"{folder} has format {version}; this version reads format {FORMAT}: update dreamlayer_jax")
    if found != kind:
        raise WeightsError(
            f"{folder} holds a {found}, not a {kind}; what was trained is laid over its base: from_pretrained(base, trained=folder)"
        )
    for name, expected in sums:
        if not (folder / name).is_file():
            raise WeightsError(f"{folder / name} is missing; copy the model again")
        if _sha256(folder / name) != expected:
            raise WeightsError(f"{folder / name} is damaged: its checksum is not the manifest's; copy the model again")


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
