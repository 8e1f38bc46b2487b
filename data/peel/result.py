"""One result file a picture: what makes a run resumable, whatever engine it runs on.

    results/ab/<id>.zip     report.json; and of an accepted picture scene.json and its PNG files, in the layout of `data.folder`

The same result is the same bytes: entries are stored with a fixed date. A result is written under another name and renamed, so a killed
worker leaves none, and two workers with one picture leave one.
"""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from data.peel.peel import Peeled
from dreamlayer_jax.files import new_file

Status = Literal["accepted", "rejected", "failed"]
REPORT, SCENE = "report.json", "scene.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a picture ended."""

    status: Status
    reason: str = ""
    """Why it was rejected, or how it failed."""
    layers: int = 0
    prompts: tuple[str, ...] = ()
    figures: dict[str, Any] = dataclasses.field(default_factory=dict)


def result_path(work: Path, id: str) -> Path:
    """Where the result of a picture is."""
    return work / "results" / id[:2] / f"{id}.zip"


def write_result(work: Path, id: str, outcome: Outcome, peeled: Peeled | None = None) -> None:
    """Writes, or replaces, the result of a picture."""
    files = {REPORT: _json(dataclasses.asdict(outcome))}
    if peeled is not None:
        files |= _scene_files(peeled)
    path = result_path(work, id)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_files(path, files)


def write_files(path: Path, files: Mapping[str, bytes]) -> None:
    """Writes or replaces a zip file; the same files are the same bytes."""
    with new_file(path, overwrite=True) as fresh, zipfile.ZipFile(fresh, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name), content)  # a ZipInfo has a fixed date


def read_outcome(work: Path, id: str) -> Outcome | None:
    """How a picture ended; None if it has not, or if its result cannot be read."""
    try:
        with zipfile.ZipFile(result_path(work, id)) as archive:
            report = json.loads(archive.read(REPORT))
        return Outcome(**{**report, "prompts": tuple(report["prompts"])})
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile):
        return None


def read_scene_files(work: Path, id: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """scene.json and the PNG files of an accepted picture, encoded as they are stored."""
    with zipfile.ZipFile(result_path(work, id)) as archive:
        pictures = {name: archive.read(name) for name in archive.namelist() if name.endswith(".png")}
        return json.loads(archive.read(SCENE)), pictures


def _scene_files(peeled: Peeled) -> dict[str, bytes]:
    example = peeled.example()
    names = [f"{n}.png" for n in range(len(peeled.rgba))]
    scene = {
        "layers": [
            {"prompt": prompt, "name": name, "file": file} for prompt, name, file in zip(peeled.prompts, peeled.names, names, strict=True)
        ],
        "global": "global.png",
        "boxes": example["boxes"].tolist(),
        "seed": peeled.seed,
    }
    pictures = dict(zip(names, peeled.rgba, strict=True)) | {"global.png": peeled.picture}
    return {SCENE: _json(scene)} | {name: _png(pixels) for name, pixels in pictures.items()}


def _png(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", compress_level=6)
    return content.getvalue()


def _json(tree: Any) -> bytes:
    return (json.dumps(tree, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()
