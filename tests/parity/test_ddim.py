"""Timesteps and whole DDIM trajectories against diffusers' DDIMScheduler, with an analytic function for a network."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler

from dreamlayer_jax.config import ScheduleConfig
from dreamlayer_jax.diffusion.schedule import alphas_cumprod, timesteps
from dreamlayer_jax.diffusion.solvers.ddim import ddim_step
from dreamlayer_jax.diffusion.steps import sampling_steps


def both(kind: str, spacing: str, to_one: bool = False) -> tuple[ScheduleConfig, DDIMScheduler]:
    shared = {"prediction_type": kind, "timestep_spacing": spacing, "steps_offset": 1, "set_alpha_to_one": to_one}
    theirs = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, **shared)
    return ScheduleConfig(**shared), theirs


def test_alphas_cumprod():
    ours, theirs = both("epsilon", "leading")
    np.testing.assert_allclose(alphas_cumprod(ours), theirs.alphas_cumprod.numpy(), rtol=1e-4)


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("steps", [1, 4, 7, 30, 50, 333])
def test_timesteps(spacing, steps):
    ours, theirs = both("epsilon", spacing)
    theirs.set_timesteps(steps)
    np.testing.assert_array_equal(timesteps(ours, steps), theirs.timesteps.numpy())


@pytest.mark.parametrize("to_one", [False, True])
@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_trajectory_of_50_steps(kind, spacing, to_one, draw, relative_error):
    config, theirs = both(kind, spacing, to_one)
    theirs.set_timesteps(50)
    start = draw(2, 4, 8, 8)
    expected = start
    for t in theirs.timesteps:
        expected = theirs.step(0.7 * torch.tanh(expected), t, expected).prev_sample

    steps = sampling_steps(config, 50)
    z = jnp.asarray(start.numpy().transpose(0, 2, 3, 1))
    for alpha_t, alpha_next in zip(steps.alpha_t, steps.alpha_next, strict=True):
        z = ddim_step(kind, z, 0.7 * jnp.tanh(z), alpha_t, alpha_next)
    assert relative_error(z, expected) <= 1e-4


@pytest.mark.parametrize("to_one", [False, True])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_inverse_trajectory_of_50_steps(kind, spacing, to_one, draw, relative_error):
    config, forward = both(kind, spacing, to_one)
    theirs = DDIMInverseScheduler.from_config(forward.config)
    theirs.set_timesteps(50)
    expected = start = 0.5 * draw(2, 4, 8, 8)
    for t in theirs.timesteps:
        expected = theirs.step(0.7 * torch.tanh(expected), t, expected).prev_sample

    steps = sampling_steps(config, 50)
    np.testing.assert_array_equal(steps.t[::-1], theirs.timesteps.numpy())
    z = jnp.asarray(start.numpy().transpose(0, 2, 3, 1))
    for alpha_t, alpha_next in zip(steps.alpha_t[::-1], steps.alpha_next[::-1], strict=True):
        z = ddim_step(kind, z, 0.7 * jnp.tanh(z), alpha_next, alpha_t)
    assert relative_error(z, expected) <= 1e-4
