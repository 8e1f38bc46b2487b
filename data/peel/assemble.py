"""Results to a data set: which accepted pictures go in, in which split and shard. No model runs here; encoded bytes are copied.

Splits and shards go by the pictures' ids, so that adding pictures never moves one to another split.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import io
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.peel.result import Outcome, read_outcome, read_scene_files

REVIEWS_FILE = "reviews.jsonl"


@dataclasses.dataclass(frozen=True, kw_only=True)
class AssemblyRules:
    """What goes into the data set."""

    held_out: float = 0.0
    """Share of the pictures in the split "held_out"; the rest is "train"."""
    shard_bytes: int = 256 << 20
    """One shard's encoded examples are held in memory: about this many bytes each."""
    at_most: tuple[str, ...] = ()
    """NAME=SHARE: at most this share of the foregrounds may be called NAME ("person=0.3"); later pictures by id are left out."""


def chosen_ids(work: Path, ids: Sequence[str], rules: AssemblyRules) -> tuple[list[str], collections.Counter[str]]:
    """The accepted ids that go in, sorted, and how many were left out for which reason."""
    left_out: collections.Counter[str] = collections.Counter()
    reviews = read_reviews(work / REVIEWS_FILE)
    kept = []
    for id in sorted(ids):
        if reviews.get(id, True):
            kept.append(id)
        else:
            left_out["refused by review"] += 1
    for rule in rules.at_most:
        kept, dropped = _balanced(work, kept, *_bound(rule))
        left_out[f"over {rule}"] += dropped
    return kept, +left_out


def read_reviews(path: Path) -> dict[str, bool]:
    """What a person said of the pictures: {"id": …, "keep": true or false, "why": …} a line; the last line of an id counts."""
    if not path.is_file():
        return {}
    reviews = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            try:
                entry = json.loads(line)
                if not isinstance(entry["keep"], bool):
                    raise TypeError(f'"keep" is {entry["keep"]!r}')
                reviews[entry["id"]] = entry["keep"]
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f'{path}, line {number}: expected {{"id": …, "keep": true or false}} ({error})') from error
    return reviews


def shards(work: Path, ids: Sequence[str], rules: AssemblyRules) -> dict[str, list[Callable[[], Iterator[tuple[str, dict[str, Any]]]]]]:
    """The shards of each split that has pictures, as `data.tfds_builder.build_pictures` takes them."""
    splits: dict[str, list[str]] = {"train": [], "held_out": []}
    for id in ids:
        splits["held_out" if _share(id) < rules.held_out else "train"].append(id)
    found = {}
    for split, members in splits.items():
        if not members:
            continue
        ordered = sorted(members, key=lambda id: hashlib.sha256(f"{split}/{id}".encode()).hexdigest())
        total = sum((work / "results" / id[:2] / f"{id}.zip").stat().st_size for id in ordered)
        count = min(len(ordered), -(-total // rules.shard_bytes))
        bounds = [len(ordered) * n // count for n in range(count + 1)]
        found[split] = [Shard(work, tuple(ordered[a:b])) for a, b in itertools.pairwise(bounds)]
    return found


@dataclasses.dataclass(frozen=True)
class Shard:
    """The examples of some pictures, read when called for."""

    work: Path
    ids: tuple[str, ...]

    def __call__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for id in self.ids:
            scene, pictures = read_scene_files(self.work, id)
            outcome = read_outcome(self.work, id)
            report = {} if outcome is None else outcome.figures
            yield (
                id,
                {
                    "rgba": [io.BytesIO(pictures[layer["file"]]) for layer in scene["layers"]],
                    "global": io.BytesIO(pictures[scene["global"]]),
                    "prompts": [layer["prompt"] for layer in scene["layers"]],
                    "names": [layer["name"] for layer in scene["layers"]],
                    "boxes": np.array(scene["boxes"], np.int32),
                    "seed": scene["seed"],
                    "id": id,
                    "report": json.dumps(report, sort_keys=True),
                },
            )


def _balanced(work: Path, ids: Sequence[str], name: str, share: float) -> tuple[list[str], int]:
    """Without the pictures that would bring `name` over its share of all foregrounds."""
    kept: list[str] = []
    called, total, dropped = 0, 0, 0
    without = [id for id in ids if name not in _words(work, id)]
    total = sum(len(_outcome(work, id).prompts) - 1 for id in without)
    for id in (id for id in ids if id not in set(without)):
        prompts = _outcome(work, id).prompts[1:]
        here = sum(name in prompt.lower().split() for prompt in prompts)
        if called + here <= share * (total + len(prompts)):
            kept.append(id)
            called, total = called + here, total + len(prompts)
        else:
            dropped += 1
    return sorted([*without, *kept]), dropped


def _bound(rule: str) -> tuple[str, float]:
    name, equals, share = rule.partition("=")
    try:
        value = float(share)
    except ValueError:
        value = -1.0
    if not name or not equals or not 0 <= value <= 1:
        raise ValueError(f"--at-most {rule}: give NAME=SHARE with a share from 0 to 1, such as person=0.3")
    return name.lower(), value


def _words(work: Path, id: str) -> set[str]:
    return {word for prompt in _outcome(work, id).prompts[1:] for word in prompt.lower().split()}


def _outcome(work: Path, id: str) -> Outcome:
    outcome = read_outcome(work, id)
    if outcome is None:
        raise ValueError(f"the result of {id} in {work} is gone or damaged; run the pictures again")
    return outcome


def _share(id: str) -> float:
    return int(hashlib.sha256(f"split/{id}".encode()).hexdigest()[:16], 16) / 2**64
