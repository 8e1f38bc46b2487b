"""One update: gradient, optimizer, moving average."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from train.stage import Batch, Params, Stage
from train.state import TrainState, merge

Step = Callable[[TrainState, Params, Batch], tuple[TrainState, dict[str, jax.Array]]]


def ema_rate(decay: float, step: jax.Array) -> jax.Array:
    """min(decay, (1 + n) / (10 + n)): the average forgets the random start quickly."""
    return jnp.minimum(decay, (1.0 + step) / (10.0 + step))


def make_step(stage: Stage, optimizer: optax.GradientTransformation) -> Step:
    """The jitted (state, frozen, batch) -> (state, metrics). The state's buffers are donated; frozen ones are arguments, not constants."""

    def step(state: TrainState, frozen: Params, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        rng = jax.random.fold_in(jax.random.wrap_key_data(state.rng), state.step)

        def loss_of(params: Params) -> tuple[jax.Array, dict[str, jax.Array]]:
            return stage.loss(merge(params, frozen), batch, rng, state.step)

        (loss, parts), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        rate = ema_rate(stage.ema_decay, state.step)
        ema = jax.tree.map(lambda average, new: average * rate + new.astype(jnp.float32) * (1 - rate), state.ema, params)
        metrics = {"loss": loss, "grad_norm": optax.tree.norm(grads), **parts}
        return state.replace(step=state.step + 1, params=params, ema=ema, opt_state=opt_state), metrics

    return jax.jit(step, donate_argnums=0)
