"""A sampling run's steps: the timesteps, ᾱ before and after each, and the sampler's numbers for the one linear step that all share."""

from __future__ import annotations

from typing import get_args

import flax.struct
import jax
import numpy as np
from jaxtyping import Float, Int

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.config import Sampler, ScheduleConfig
from dreamlayer_jax.diffusion.solvers import consistency, ddim, dpm, unipc
from dreamlayer_jax.diffusion.solvers.linear import Coefficients, Levels

SAMPLERS: tuple[Sampler, ...] = get_args(Sampler)
NOISY: tuple[Sampler, ...] = ("lcm", "tcd")
"""Samplers that draw fresh noise between their steps."""
TCD_GAMMA = 0.3
"""γ of TCD's paper: how much of the noise is fresh."""

_LOOKING_BACK = {"dpm++": dpm.coefficients, "dpm++-karras": dpm.coefficients, "unipc": unipc.coefficients}


@flax.struct.dataclass
class Steps:
    """The steps of a run, or a part of them, noisiest first; inside the loop, one of them without its axis.

    On the host they are NumPy arrays, floats in float64.
    """

    t: Int[Array, " s"]
    alpha_t: Float[Array, " s"]
    alpha_next: Float[Array, " s"]
    p: Float[Array, " s"]
    q: Float[Array, " s"]
    r: Float[Array, " s"] | None
    s: Float[Array, " s"] | None
    correct: Float[Array, "s 5"] | None
    sampler: Sampler = flax.struct.field(pytree_node=False)

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, part: slice | int | Array) -> Steps:
        return jax.tree.map(lambda x: x[part], self)

    def below(self, t: int) -> Steps:
        """The steps from timestep `t` down, as a run that begins there: its first step looks back at nothing. On the host only."""
        part = self[int((np.asarray(self.t) > t).sum()) :]
        if self.sampler not in _LOOKING_BACK or not len(part):
            return part
        return part.replace(**vars(_LOOKING_BACK[self.sampler](part.alpha_t, part.alpha_next)))


def most_steps(config: ScheduleConfig, sampler: Sampler) -> int:
    """The largest number of steps that the sampler can take."""
    if sampler in NOISY:
        return min(consistency.TAUGHT, config.num_train_timesteps)
    return config.num_train_timesteps - (sampler != "ddim")


def sampling_steps(config: ScheduleConfig, steps: int, sampler: Sampler = "ddim") -> Steps:
    """The whole run of `steps` steps.

    Raises:
        ValueError: the sampler is not known, or `steps` is not in 1 … `most_steps`.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"the sampler is {sampler!r}; known are {', '.join(SAMPLERS)}")
    most = most_steps(config, sampler)
    if not 1 <= steps <= most:
        raise ValueError(f"{steps} sampling steps asked for; {sampler} takes 1 to {most} of {config.num_train_timesteps} timesteps")
    levels, numbers = _run_of(config, steps, sampler)
    return Steps(**vars(levels), **vars(numbers), sampler=sampler)


def _run_of(config: ScheduleConfig, steps: int, sampler: Sampler) -> tuple[Levels, Coefficients]:
    if sampler == "lcm":
        levels = consistency.lcm_levels(config, steps)
        return levels, consistency.lcm_coefficients(levels)
    if sampler == "tcd":
        levels = consistency.tcd_levels(config, steps)
        return levels, consistency.tcd_coefficients(config, levels, TCD_GAMMA)
    if sampler == "ddim":
        levels = ddim.levels(config, steps)
        return levels, ddim.coefficients(levels.alpha_t, levels.alpha_next)
    levels = (dpm.karras_levels if sampler == "dpm++-karras" else dpm.levels)(config, steps)
    return levels, _LOOKING_BACK[sampler](levels.alpha_t, levels.alpha_next)
