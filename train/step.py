"""One update: gradient, optimizer, moving average, and whether all of it is finite."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from dreamlayer_jax.place import Place
from train.model_flops import count
from train.placing import spread
from train.processes import wait_for_all
from train.stage import Batch, Params, Stage
from train.state import TrainState, merge

Gradient = Callable[[TrainState, Params, Batch], tuple[Params, dict[str, jax.Array]]]


@flax.struct.dataclass
class Fault:
    """The first step whose loss, gradient or new parameters were not finite. Kept on the device: looking at it waits for the device."""

    step: jax.Array
    """1 for the first step of a run; 0 while all was finite."""
    loss: jax.Array
    grad_norm: jax.Array

    @classmethod
    def none(cls, place: Place) -> Fault:
        """Nothing has gone wrong yet; on a mesh, every device knows."""
        nothing = cls(step=np.zeros((), np.int32), loss=np.zeros((), np.float32), grad_norm=np.zeros((), np.float32))
        return jax.tree.map(jnp.asarray, nothing) if place.mesh is None else spread(nothing, place.of_parameters(nothing))


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
    """Floating-point operations of one gradient of these shapes, on all devices, without what gradient checkpointing does twice."""
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (state, frozen, batch))
    return count(jax.make_jaxpr(make_gradient(stage.without_devices()))(*shapes).jaxpr)


class Step:
    """The step (state, fault, frozen, batch) -> (state, fault, metrics), whose results are all still on the device.

    Two compiled halves: the update, whose shapes never change, is compiled once, the gradient once a batch shape. The state's buffers
    are donated; frozen parameters are arguments, not constants. The gradient's buffers cannot be donated: every result already has one
    of the state's to lie in. On a mesh everything stays where `state` and `frozen` lie, the gradient where the parameters do.
    """

    def __init__(self, stage: Stage, optimizer: optax.GradientTransformation, state: TrainState, frozen: Params) -> None:
        before, after = {}, {}
        if stage.place.mesh is not None:
            lies, whole = partial(jax.tree.map, lambda x: x.sharding), stage.place.replicated
            before = {"in_shardings": (lies(state), lies(frozen), stage.batch_sharding), "out_shardings": (lies(state.params), whole)}
            after = {"in_shardings": (lies(state), whole, lies(state.params), whole, whole), "out_shardings": (lies(state), whole)}

        def update(state: TrainState, fault: Fault, grads: Params, loss: jax.Array, grad_norm: jax.Array) -> tuple[TrainState, Fault]:
            updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
            ema = optax.incremental_update(params, state.ema, 1 - ema_rate(stage.ema_decay, state.step))
            new = state.replace(step=state.step + 1, params=params, ema=ema, opt_state=opt_state)
            finite = jax.tree.reduce(jnp.logical_and, jax.tree.map(lambda x: jnp.isfinite(x).all(), (loss, grad_norm, params)))
            now = Fault(step=jnp.where(finite, 0, new.step), loss=loss, grad_norm=grad_norm)
            return new, jax.tree.map(partial(jnp.where, fault.step == 0), now, fault)

        self._gradient = jax.jit(make_gradient(stage), **before)
        self._update = jax.jit(update, donate_argnums=(0, 1), **after)
        self._stage, self._gradients, self._flops, self._compiled_update = stage, {}, {}, None

    def compile(self, state: TrainState, fault: Fault, frozen: Params, batch: Batch) -> bool:
        """Makes the programs for batches of this shape; False if they are there. Processes meet once theirs are made, to begin together."""
        shapes = _shapes(batch)
        if shapes in self._gradients:
            return False
        self._flops[shapes] = model_flops(self._stage, state, frozen, batch)
        lowered = self._gradient.lower(state, frozen, batch)
        self._gradients[shapes] = lowered.compile()
        if self._compiled_update is None:
            grads, metrics = lowered.out_info
            self._compiled_update = self._update.lower(state, fault, grads, metrics["loss"], metrics["grad_norm"]).compile()
        wait_for_all("step compiled")
        return True

    def flops(self, batch: Batch) -> float:
        """Of one gradient of this shape."""
        return self._flops[_shapes(batch)]

    def __call__(self, state: TrainState, fault: Fault, frozen: Params, batch: Batch) -> tuple[TrainState, Fault, dict[str, jax.Array]]:
        """One step, of a batch whose programs are compiled."""
        grads, metrics = self._gradients[_shapes(batch)](state, frozen, batch)
        state, fault = self._compiled_update(state, fault, grads, metrics["loss"], metrics["grad_norm"])
        return state, fault, metrics


def _shapes(batch: Batch) -> tuple[tuple[int, ...], ...]:
    return tuple(array.shape for array in batch.values())
