"""Everything that training carries from one step to the next, and the split of a tree into what learns and what does not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from dreamlayer_jax.place import Place

Params = dict[str, Any]


@flax.struct.dataclass
class TrainState:
    """`step` counts finished updates; `params`, `ema` (float32) and `opt_state` hold only trainable parameters; `rng` is raw key data."""

    step: jax.Array
    params: Params
    ema: Params
    opt_state: optax.OptState
    rng: jax.Array


def split(params: Params, trainable: Callable[[tuple[str, ...]], bool]) -> tuple[Params, Params]:
    """(trainable, frozen) halves of a nested dict, by path."""
    flat = flatten_dict(params)
    learns = {path: value for path, value in flat.items() if trainable(path)}
    if not learns:
        raise ValueError("no parameter is trainable; let `trainable` accept at least one path")
    frozen = {path: value for path, value in flat.items() if path not in learns}
    return unflatten_dict(learns), unflatten_dict(frozen)


def merge(trainable: Params, frozen: Params) -> Params:
    """The inverse of `split`."""
    return unflatten_dict(flatten_dict(trainable) | flatten_dict(frozen))


def create(params: Params, optimizer: optax.GradientTransformation, seed: int, place: Place = Place()) -> TrainState:
    """The state before the first step, where `place` wants it.

    Parameters and EMA are copies: both are donated to the step, and `params` stays its owner's.
    """
    fresh = partial(_create, optimizer=optimizer, seed=seed)
    if place.mesh is None:
        return fresh(params)
    return jax.jit(fresh, out_shardings=place.of_parameters(jax.eval_shape(fresh, params)))(params)


def _create(params: Params, optimizer: optax.GradientTransformation, seed: int) -> TrainState:
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=jax.tree.map(jnp.array, params),
        ema=jax.tree.map(lambda p: jnp.array(p, jnp.float32, copy=True), params),
        opt_state=optimizer.init(params),
        rng=jax.random.key_data(jax.random.key(seed)),
    )
