"""Scenes by index, for Grain: nothing is stored, every scene is composed when asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

from data.scenes import Pairs, Scene, Split, check_arguments, compose
from data.world import World

Example = dict[str, Any]


class ExampleSource(Protocol):
    """Random access to examples, as Grain wants it: `SceneSource`, `data.folder.FolderSource`, `data.tfds_builder.StoredScenes`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...


@dataclasses.dataclass(frozen=True, eq=False)
class SceneSource:
    """A random-access source of examples: item i is the scene of `seeds[i]`.

    layers: the layer counts that occur, by seed in turn; `k` fixes one instead. Picklable. ValueError for what `compose` cannot make.
    """

    world: World
    seeds: Sequence[int] = range(1_000_000)
    size: int = 64
    layers: tuple[int, ...] = (2, 3, 4)
    k: int | None = None
    split: Split = "train"
    pairs: Pairs = "train"

    def __post_init__(self) -> None:
        if not self.layers or not len(self.seeds):
            raise ValueError(f"a source needs seeds and layer counts, got {len(self.seeds)} seeds and layers={self.layers}")
        for k in self.layers if self.k is None else (self.k,):
            check_arguments(min(self.seeds[0], self.seeds[-1]), self.size, k, self.split, self.pairs)

    def __len__(self) -> int:
        return len(self.seeds)

    def scene(self, index: int) -> Scene:
        """The whole scene of an index, its shadow included."""
        seed = int(self.seeds[index])
        k = self.layers[seed % len(self.layers)] if self.k is None else self.k
        return compose(self.world, seed, size=self.size, k=k, split=self.split, pairs=self.pairs)

    def __getitem__(self, index: int) -> Example:
        """The example of an index, in the schema of `Scene.example`."""
        return self.scene(index).example()
