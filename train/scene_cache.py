"""Rendered scenes on disk: composed once by several processes, read as memory maps.

A shard is a run of consecutive seeds with one layer count, in three files: `00012_k3.rgba.npy` (n, k, H, W, 4) uint8,
`00012_k3.global.npy` (n, H, W, 3) uint8 and `00012_k3.json` (seeds, prompts, names), the last written last. No jax here:
the composing processes start by importing this file.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from data.scenes import Pairs, Split
from data.source import SceneSource
from data.world import World, emoji_world, folder_world, shapes_world
from dreamlayer_jax.files import new_file, write_json
from train.records import read_json_object

WORLDS = {"emoji": emoji_world, "shapes": shapes_world}
LAYER_PATTERN = (3, 2, 3, 4, 3, 2, 3, 4, 2, 3)  # layer counts of consecutive shards: 30% two, 50% three, 20% four


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneSet:
    """Which scenes: `scenes` of them from seed `first_seed` on, in shards of `shard_size`; `size` pixels a side, out of `world`."""

    scenes: int
    world: str = "emoji"
    """"emoji", "shapes", or a folder of your own RGBA cut-outs, PNGs named by what they show."""
    first_seed: int = 0
    size: int = 64
    shard_size: int = 250
    layer_pattern: tuple[int, ...] = LAYER_PATTERN
    split: Split = "train"
    pairs: Pairs = "train"

    def __post_init__(self) -> None:
        least = {"scenes": 1, "first_seed": 0, "size": 1, "shard_size": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name} is {getattr(self, name)}; give a number of at least {bound}")
        if not self.layer_pattern or min(self.layer_pattern) < 2:
            raise ValueError(f"layer_pattern is {self.layer_pattern}; give layer counts of at least 2: a background and an object")

    @property
    def shards(self) -> tuple[Shard, ...]:
        """Every shard, in seed order; the last may be short."""
        starts = range(self.first_seed, self.first_seed + self.scenes, self.shard_size)
        end = self.first_seed + self.scenes
        return tuple(
            Shard(number=n, k=self.layer_pattern[n % len(self.layer_pattern)], seeds=range(start, min(start + self.shard_size, end)))
            for n, start in enumerate(starts)
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
    """Scenes with `k` layers of consecutive `seeds`."""

    number: int
    k: int
    seeds: range

    def path(self, folder: Path, ending: str) -> Path:
        """One of the shard's files: ending is "rgba.npy", "global.npy" or "json"."""
        return folder / f"{self.number:05d}_k{self.k}.{ending}"


def build_scene_cache(scene_set: SceneSet, folder: Path, processes: int | None = None, index: int = 0, count: int = 1) -> None:
    """Composes the shards that `folder` does not hold yet, in as many processes as there are cores. ValueError if it holds another set's.

    Of `count` machines that share the folder each does its part, machine `index` this one.
    """
    processes = os.cpu_count() or 1 if processes is None else processes
    folder.mkdir(parents=True, exist_ok=True)
    _check_same_set(scene_set, folder / "set.json", note=index == 0)
    missing = [shard for shard in scene_set.shards[index::count] if not shard.path(folder, "json").is_file()]
    jobs = [(scene_set, shard, folder) for shard in missing]
    with tqdm(total=len(missing), desc=f"scenes {folder.name}", unit="shard") as bar:
        if processes < 2 or len(jobs) < 2:
            for job in jobs:
                _compose_shard(job)
                bar.update()
            return
        # spawn: forking a process that runs jax's threads can hang
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            for _ in pool.imap(_compose_shard, jobs):
                bar.update()


def open_world(name: str) -> World:
    """As `SceneSet.world` says. ValueError for a name that is neither."""
    if name in WORLDS:
        return WORLDS[name]()
    if not Path(name).is_dir():
        raise ValueError(
            f"there is no world {name!r}: give {', '.join(WORLDS)}, or a folder of RGBA cut-outs, PNGs named by what they show"
        )
    return folder_world(name)


def _check_same_set(scene_set: SceneSet, path: Path, note: bool) -> None:
    """The set may grow (more scenes), nothing else may change."""
    asked = json.loads(json.dumps(dataclasses.asdict(scene_set)))
    if path.is_file():
        found = read_json_object(path, "remove it: the scenes are composed again")
        differing = {name for name in asked if found.get(name) != asked[name]} - {"scenes"}
        if differing:
            names = ", ".join(sorted(differing))
            raise ValueError(f"{path.parent} holds scenes of other settings ({names} differ): remove it or use another workdir")
    if note:
        write_json(path, asked)


def _compose_shard(job: tuple[SceneSet, Shard, Path]) -> None:
    scene_set, shard, folder = job
    source = SceneSource(
        world=open_world(scene_set.world), seeds=shard.seeds, size=scene_set.size, k=shard.k, split=scene_set.split, pairs=scene_set.pairs
    )
    examples: list[dict[str, Any]] = [source[n] for n in range(len(source))]
    for ending, key in (("rgba.npy", "rgba"), ("global.npy", "global")):
        with new_file(shard.path(folder, ending), overwrite=True) as path:
            np.save(path, np.stack([example[key] for example in examples]))
    facts = {"seeds": list(shard.seeds), "prompts": [e["prompts"] for e in examples], "names": [e["names"] for e in examples]}
    write_json(shard.path(folder, "json"), facts, indent=None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CachedShard:
    """One shard opened: rgba (n, k, H, W, 4) and global_rgb (n, H, W, 3) memory maps, prompts and names k strings a scene."""

    k: int
    rgba: np.ndarray
    global_rgb: np.ndarray
    prompts: list[list[str]]
    names: list[list[str]]
    seeds: list[int]


def open_scene_cache(scene_set: SceneSet, folder: Path) -> tuple[CachedShard, ...]:
    """Every shard of the set, in order. Raises FileNotFoundError if one is missing."""
    opened = []
    for shard in scene_set.shards:
        path = shard.path(folder, "json")
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: run build_scene_cache for this set first")
        remedy = "remove it and run the same command again, which composes the shard anew"
        facts = read_json_object(path, remedy)
        try:
            rgba, global_rgb = (np.load(shard.path(folder, ending), mmap_mode="r") for ending in ("rgba.npy", "global.npy"))
            opened.append(CachedShard(k=shard.k, rgba=rgba, global_rgb=global_rgb, **facts))
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(f"{path} or an array beside it is damaged ({error}): {remedy}") from error
    return tuple(opened)
