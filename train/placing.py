"""Where a run's parameters lie, by the rules of the stage's `Place`, and how they come back from there."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from train.stage import Params, Stage


def initial_params(stage: Stage, seed: int) -> Params:
    """The stage's whole tree where its place wants it. What is only drawn is drawn there: no device ever holds all of it."""
    rng, place = jax.random.key(seed), stage.place
    if place.mesh is None:
        return stage.init(rng)
    if stage.draws_all:
        return jax.jit(stage.init, out_shardings=place.of_parameters(jax.eval_shape(stage.init, rng)))(rng)
    params = stage.init(rng)
    return spread(params, place.of_parameters(params))


def spread(tree: Any, shardings: Any) -> Any:
    """A tree that every process has whole, as arrays of which each device takes its part."""

    def one(array: Any, sharding: NamedSharding) -> jax.Array:
        whole = np.asarray(array)
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    return jax.tree.map(one, tree, shardings)


def on_host(tree: Any) -> Any:
    """The tree as NumPy arrays, whole, in every process; all must ask for it. Array by array, so that no device ever holds all of it."""
    return jax.tree.map(_whole, tree)


def _whole(array: Any) -> np.ndarray:
    if isinstance(array, jax.Array) and not array.is_fully_replicated:
        array = jax.jit(lambda x: x, out_shardings=NamedSharding(array.sharding.mesh, PartitionSpec()))(array)
    return np.asarray(array)
