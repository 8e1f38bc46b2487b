"""The one loop of every run through the noise levels: generation, completion, harmonisation, inversion, plain Stable Diffusion.

What a step does (a `Solver`), what the network says (a `Denoiser`) and what is kept are apart, as in diffrax. A run can be stopped after
any step and resumed: where a piece of it begins and ends is data, so that all pieces are one compiled program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.config import PredictionType
from dreamlayer_jax.diffusion.schedule import clean_and_noise
from dreamlayer_jax.diffusion.solvers.linear import Memory, corrected, first_memory, linear_step
from dreamlayer_jax.diffusion.steps import Steps

Denoiser = Callable[[Array, Steps, Array], tuple[Array, Any]]
"""(z, the step, its number) to the network's prediction, and what else of it is to be summed over the run (None for nothing)."""
Put = Callable[[Array, Steps, Array], Array]
"""(z, the step, its number) to z with all that is known at this step in its place."""


@flax.struct.dataclass
class Step:
    """What a solver makes of one step."""

    z: Array
    """The latent after it."""
    state: Array
    """The latent at the step's ᾱ_t: where a step down begins, where a step of inversion ends."""
    memory: Memory
    summed: Any


Solver = Callable[[Steps, Array, Array, Memory], Step]
"""(the step, its number, z, what is remembered) to what comes of it."""


@flax.struct.dataclass
class Run:
    """A run on its way."""

    z: Float[Array, "*n"]
    memory: Memory
    states: Float[Array, "kept *n"]
    """The latents at ᾱ_t of the last steps."""
    summed: Any


def begin(z: Float[Array, "*n"], steps: Steps, *, keep: int = 0, summed: Any = None) -> Run:
    """A run before its first step, from `z`; it will keep the states of its last `keep` steps. `summed` is what the sum begins with."""
    states = jnp.zeros((min(keep, len(steps)), *z.shape), z.dtype)
    return Run(z=z, memory=first_memory(z, steps), states=states, summed=summed)


def advance(run: Run, steps: Steps, solver: Solver, start: Int[Array, ""] | int = 0, stop: Int[Array, ""] | int | None = None) -> Run:
    """Takes the steps from number `start` to before `stop`, all by default; `steps` are those of the whole run."""
    steps, skipped = jax.tree.map(jnp.asarray, steps), len(steps) - len(run.states)

    def body(i: Array, run: Run) -> Run:
        done = solver(steps[i], i, run.z, run.memory)
        states = run.states
        if len(states):  # those before the kept ones are written over
            states = jax.lax.dynamic_update_index_in_dim(states, done.state, jnp.maximum(i - skipped, 0), axis=0)
        return Run(z=done.z, memory=done.memory, states=states, summed=jax.tree.map(jnp.add, run.summed, done.summed))

    return jax.lax.fori_loop(start, len(steps) if stop is None else stop, body, run)


def sampler(
    kind: PredictionType, denoise: Denoiser, put: Put = lambda z, at, i: z, noise: Callable[[Steps], Array] | None = None
) -> Solver:
    """The linear step down, towards the picture, of any sampler.

    Args:
        kind: what the network predicts.
        denoise: the network.
        put: what is known is put into z before the prediction, and again into a z that the sampler corrects.
        noise: fresh noise for a step, for samplers that use it.
    """

    def solver(at: Steps, i: Array, z: Array, memory: Memory) -> Step:
        z = put(z, at, i)
        prediction, summed = denoise(z, at, i)
        clean, _ = clean_and_noise(kind, at.alpha_t, z, prediction)
        if at.correct is not None:
            z = put(corrected(at, z, clean, memory), at, i)
        after, memory = linear_step(at, z, clean, memory, None if at.s is None else noise(at))
        return Step(z=after, state=z, memory=memory, summed=summed)

    return solver
