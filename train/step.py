"""One update: gradient, optimizer, moving average."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax

from train.model_flops import count
from train.stage import Batch, Params, Stage
from train.state import TrainState, merge

Step = Callable[[TrainState, Params, Batch], tuple[TrainState, dict[str, jax.Array]]]
Gradient = Callable[[TrainState, Params, Batch], tuple[Params, dict[str, jax.Array]]]


def ema_rate(decay: float, step: jax.Array) -> jax.Array:
    """min(decay, (1 + n) / (10 + n)): the average forgets the random start quickly."""
    return jnp.minimum(decay, (1.0 + step) / (10.0 + step))


def make_gradient(stage: Stage) -> Gradient:
    """(state, frozen, batch) -> (gradient of what is trainable, metrics); not jitted."""

    def gradient(state: TrainState, frozen: Params, batch: Batch) -> tuple[Params, dict[str, jax.Array]]:
        rng = jax.random.fold_in(jax.random.wrap_key_data(state.rng), state.step)

        def loss_of(params: Params) -> tuple[jax.Array, dict[str, jax.Array]]:
            return stage.loss(merge(params, frozen), batch, rng, state.step)

        (loss, parts), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        return grads, {"loss": loss, "grad_norm": optax.tree.norm(grads), **parts}

    return gradient


def model_flops(stage: Stage, state: TrainState, frozen: Params, batch: Batch) -> float:
    """Floating-point operations of one gradient of these shapes, without what gradient checkpointing does twice."""
    return count(jax.make_jaxpr(make_gradient(stage.without_remat()))(state, frozen, batch).jaxpr)


def make_step(stage: Stage, optimizer: optax.GradientTransformation) -> Step:
    """The step (state, frozen, batch) -> (state, metrics).

    Two jitted halves: the update, whose shapes never change, is compiled once, the gradient once a batch shape. The state's buffers
    are donated; frozen parameters are arguments, not constants.
    """

    gradient = jax.jit(make_gradient(stage))

    @partial(jax.jit, donate_argnums=0)
    def update(state: TrainState, grads: Params) -> TrainState:
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        rate = ema_rate(stage.ema_decay, state.step)
        ema = jax.tree.map(lambda average, new: average * rate + new.astype(jnp.float32) * (1 - rate), state.ema, params)
        return state.replace(step=state.step + 1, params=params, ema=ema, opt_state=opt_state)

    def step(state: TrainState, frozen: Params, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        grads, metrics = gradient(state, frozen, batch)
        return update(state, grads), metrics

    return step
