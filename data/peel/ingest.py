"""Pictures as they come from a folder: read, sized, told apart by their pixels, and what they show in words.

What a picture shows is looked for in this order:

    prompts.jsonl in the folder    {"file": "a/b.jpg", "background": "a beach", "foregrounds": ["a dog", "a ball"]}
    b.json beside b.jpg            the same without "file"; "names" may say what a detector looks for in a foreground's place
    "caption" in either            one sentence, which the planner's rules split
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data.crop import scale_and_centre_crop
from data.peel.filters import Rejected
from data.peel.stages import Wanted
from dreamlayer_jax.picture import PictureError, is_animated, read_picture
from dreamlayer_jax.planner.plan import PlanError
from dreamlayer_jax.planner.rules import plan_by_rules

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
PROMPTS_FILE = "prompts.jsonl"
LONGEST, SHORTEST = 1152, 256
MAX_ASPECT = 3.0
FLAT = 2.0
"""Standard deviation, in bytes, under which a picture is of one colour."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class IngestRules:
    """How pictures are read. The paper's have sides of 896 to 1152 pixels."""

    size: int | None = None
    """Scale and centre-crop to this square; left out, pictures keep their shape and their longest side is reduced to 1152."""
    min_side: int = SHORTEST
    """Of what is left."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Ingested:
    """A picture that can be worked on."""

    id: str
    """SHA-256 of its pixels: the same picture under two names is one."""
    picture: np.ndarray
    wanted: Wanted

    @property
    def seed(self) -> int:
        """The first 63 bits of the id: every random choice of the picture comes from it, never from order or worker."""
        return int(self.id[:16], 16) >> 1


def picture_files(folder: Path) -> list[str]:
    """The pictures under a folder, as paths relative to it, sorted. Raises `ValueError` if there is none."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; give the folder that holds the pictures")
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    if not found:
        raise ValueError(f"{folder} holds no picture; expected files that end in {', '.join(ENDINGS)}")
    return found


def ingest(folder: Path, source: str, prompts: Mapping[str, Any], rules: IngestRules) -> Ingested:
    """The picture `source` of a folder. Raises `Rejected`, with the reason, if it cannot be used."""
    path = folder / source
    told: list[str] = []
    try:
        animated = is_animated(path)
        picture = read_picture(path, on_warning=told.append)
    except (PictureError, OSError) as error:
        raise Rejected("unreadable", {"why": str(error).replace(str(folder), ".")}) from error
    if animated:
        raise Rejected("animated", {})
    if told:
        raise Rejected("transparent", {"why": "a photograph has no transparent parts; its layers are what is looked for"})
    height, width = picture.shape[:2]
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise Rejected("too long and narrow", {"size": [height, width]})
    picture = _sized(picture, rules.size)
    if min(picture.shape[:2]) < rules.min_side:
        raise Rejected("too small", {"size": [height, width], "least": rules.min_side})
    if float(picture.astype(np.float32).std(axis=(0, 1)).max()) < FLAT:
        raise Rejected("of one colour", {})
    wanted = _wanted(path, source, prompts)
    digest = hashlib.sha256(np.array(picture.shape, np.int64).tobytes() + picture.tobytes()).hexdigest()
    return Ingested(id=digest, picture=picture, wanted=wanted)


def listed_prompts(folder: Path) -> dict[str, Any]:
    """What prompts.jsonl says of each picture; empty where there is none. Raises `ValueError` with the line that is wrong."""
    path = folder / PROMPTS_FILE
    return _parsed(path, path.stat().st_mtime_ns) if path.is_file() else {}


@functools.lru_cache(maxsize=1)
def _parsed(path: Path, _: int) -> dict[str, Any]:
    return dict(_lines(path))


def _lines(path: Path) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            yield entry["file"], entry
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f'{path}, line {number}: expected an object with "file" and prompts ({error})') from error


def _sized(picture: np.ndarray, size: int | None) -> np.ndarray:
    if size is not None:
        return picture if min(picture.shape[:2]) < size else scale_and_centre_crop(picture, size)
    height, width = picture.shape[:2]
    if max(height, width) <= LONGEST:
        return picture
    scale = LONGEST / max(height, width)
    reduced = Image.fromarray(picture).resize((max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.LANCZOS)
    return np.asarray(reduced)


def _wanted(path: Path, source: str, prompts: Mapping[str, Any]) -> Wanted:
    entry = prompts.get(source)
    beside = path.with_suffix(".json")
    try:
        if entry is None and beside.is_file():
            entry = json.loads(beside.read_text(encoding="utf-8"))
        if not isinstance(entry, dict):
            raise Rejected("no prompts", {"why": f"neither {PROMPTS_FILE} nor {beside.name} says what the picture shows"})
        if "background" in entry:
            return Wanted(
                background=_text(entry["background"]),
                foregrounds=tuple(_text(prompt) for prompt in entry["foregrounds"]),
                names=tuple(_text(name) for name in entry.get("names", ())),
            )
        plan = plan_by_rules(_text(entry["caption"]))
        return Wanted(background=plan.background, foregrounds=plan.foregrounds)
    except Rejected:
        raise
    except (ValueError, KeyError, TypeError, RecursionError, PlanError) as error:
        raise Rejected("no prompts", {"why": f"what {beside.name} or {PROMPTS_FILE} says cannot be used: {error}"}) from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r:.80}")
    return " ".join(value.split())
