"""What a run consists of: a stage says what is learned, from what, how, and what a person looks at meanwhile."""

from __future__ import annotations

import abc
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

from dreamlayer_jax.place import Place
from train.batches import Part

Params = dict[str, Any]
Batch = dict[str, np.ndarray]


class Stage(abc.ABC):
    """One stage of training. Subclasses are frozen keyword dataclasses; `train.loop.fit` runs them where `place` says.

    What a stage needs from earlier ones it loads from their exported parameters (`train.export.load_params`) in `init`.
    """

    name: str
    steps: int
    ema_decay: float
    place: Place = Place()
    draws_all: bool = False
    """Whether `init` only draws random numbers: it may then be traced, so that every device makes its own part."""

    @abc.abstractmethod
    def init(self, rng: jax.Array) -> Params:
        """The whole parameter tree, trainable and frozen; must give the same tree for the same `rng`."""

    def trainable(self, path: tuple[str, ...]) -> bool:
        """Whether the parameter at `path` learns. The others get no gradient, no optimizer state and no place in a checkpoint."""
        del path
        return True

    @abc.abstractmethod
    def loss(self, params: Params, batch: Batch, rng: jax.Array, step: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """A scalar to minimise and its named parts; traced under `jit`, once a batch shape."""

    def without_devices(self) -> Stage:
        """The stage whose loss does each operation once, on one device: what model FLOPs are counted on."""
        return self

    @property
    def batch_sharding(self) -> NamedSharding | None:
        """How the first axis of a batch lies on the mesh: over all its devices. None without a mesh."""
        return None if self.place.mesh is None else NamedSharding(self.place.mesh, PartitionSpec(self.place.mesh.axis_names))

    def resident(self, frozen: Params) -> Params:
        """What does not learn, as it is kept on the devices while the stage trains."""
        return frozen

    @abc.abstractmethod
    def optimizer(self) -> optax.GradientTransformation:
        """The update rule for the trainable parameters."""

    @abc.abstractmethod
    def dataset(self, part: Part = Part()) -> grain.IterDataset:
        """Endless, deterministic, resumable batches of arrays, first axis the example; of each the rows of `part`, see `batched`."""

    def picture_batch(self) -> Batch | None:
        """The fixed, held-out batch that `picture` draws; None for a stage without pictures."""
        return None

    def picture(self, params: Params, batch: Batch) -> np.ndarray:
        """A uint8 (H, W, 3) sheet for a person to look at. `params` is the whole tree with the EMA in it."""
        raise NotImplementedError(f"stage {self.name} gives a picture batch but draws no picture")

    def finish(self, params: Params, folder: Path) -> None:
        """Called once with the exported (EMA) tree, whenever the stage is exported into `folder`."""
        del params, folder
