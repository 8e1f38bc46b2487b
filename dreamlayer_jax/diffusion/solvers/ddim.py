"""DDIM (Song et al. 2021, Eq. 12 with η = 0; paper §9): z_s = √ᾱ_s ẑ_0 + √(1 − ᾱ_s) ε̂, in either direction.

Towards the picture s < t; for inversion s > t.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.config import PredictionType, ScheduleConfig
from dreamlayer_jax.diffusion.schedule import add_noise, alpha_table, clean_and_noise, final_alpha_cumprod, timesteps
from dreamlayer_jax.diffusion.solvers.linear import Coefficients, Levels, deterministic


def levels(config: ScheduleConfig, steps: int) -> Levels:
    """DDIMScheduler's timesteps; the last step ends at ᾱ_0, or at 1 with `set_alpha_to_one`."""
    t, alpha = timesteps(config, steps), alpha_table(config)
    previous = t - config.num_train_timesteps // steps
    after = np.where(previous >= 0, alpha[np.maximum(previous, 0)], final_alpha_cumprod(config))
    return Levels(t=t, alpha_t=alpha[t], alpha_next=after)


def coefficients(alpha_t: np.ndarray, alpha_next: np.ndarray) -> Coefficients:
    """p, q."""
    p, q = deterministic(alpha_t, alpha_next)
    return Coefficients(p=p, q=q)


def ddim_step(
    kind: PredictionType, z: Float[Array, "*n"], prediction: Float[Array, "*n"], alpha_t: Float[Array, ""], alpha_s: Float[Array, ""]
) -> Float[Array, "*n"]:
    """z_s from z_t, both levels given by ᾱ: the step as inversion takes it, which may begin at ᾱ = 1."""
    clean, noise = clean_and_noise(kind, jnp.asarray(alpha_t), z, prediction)
    return add_noise(jnp.asarray(alpha_s), clean, noise)
