"""Scenes in shards, ready to be encoded: those of a scene cache, or of any source of examples, cut square."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from data.crop import SquareScenes
from data.loader import scene_loader
from data.source import ExampleSource
from train.processes import wait_for_all
from train.scene_cache import CachedShard, SceneSet, build_scene_cache, open_scene_cache

MAX_LAYERS = 4
_THREADS = os.cpu_count() or 1

Scene = dict[str, Any]
"""rgba (k, H, W, 4) and global (H, W, 3), uint8; prompts and names, k strings each; seed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneShard:
    """Scenes that are encoded together."""

    facts: Any
    """Which scenes these are, in JSON's types: what was encoded from other facts is not these."""
    count: int
    scenes: Callable[[], Iterable[Scene]]


def compose(scene_set: SceneSet, folder: Path) -> None:
    """Completes a scene cache: every process of the run its part of the shards."""
    build_scene_cache(scene_set, folder, index=jax.process_index(), count=jax.process_count())
    wait_for_all(f"{folder.name} composed")


def cached_shards(scene_set: SceneSet, folder: Path) -> list[SceneShard]:
    """The shards of a scene cache. FileNotFoundError if one is missing."""
    settings = {name: value for name, value in dataclasses.asdict(scene_set).items() if name not in ("scenes", "layer_pattern")}
    return [
        SceneShard(facts=[settings, shard.k, shard.seeds[0], shard.seeds[-1]], count=len(shard.seeds), scenes=partial(_scenes_of, shard))
        for shard in open_scene_cache(scene_set, folder)
    ]


def source_shards(source: ExampleSource, what: str, size: int, shard_size: int = 1024) -> list[SceneShard]:
    """`source` in shards of `shard_size`, `size` pixels a side; `what` names the data set."""
    ranges = [range(start, min(start + shard_size, len(source))) for start in range(0, len(source), shard_size)]
    return [
        SceneShard(
            facts=[what, len(source), size, indices.start, indices.stop],
            count=len(indices),
            scenes=partial(_squares, SquareScenes(source, size, indices)),
        )
        for indices in ranges
    ]


def _scenes_of(shard: CachedShard) -> Iterator[Scene]:
    for number, seed in enumerate(shard.seeds):
        yield {
            "rgba": np.asarray(shard.rgba[number]),
            "global": np.asarray(shard.global_rgb[number]),
            "prompts": shard.prompts[number],
            "names": shard.names[number],
            "seed": seed,
        }


def _squares(scenes: SquareScenes) -> Iterator[Scene]:
    for batch in scene_loader(scenes, batch_size=1, max_layers=MAX_LAYERS, shuffle=False, epochs=1, threads=_THREADS):
        k = int(batch["valid"][0].sum())
        texts = {name: [str(text) for text in batch[name][0, :k]] for name in ("prompts", "names")}
        yield {"rgba": batch["rgba"][0, :k], "global": batch["global"][0], "seed": int(batch["seed"][0]), **texts}
