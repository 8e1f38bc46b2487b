"""Given layers stay where they are, and the rest is made for them."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from dreamlayer_jax.diffusion.denoise import KnownTrajectory, Trajectory, as_seen, noised
from dreamlayer_jax.diffusion.generate import KnownLatents, generate_layers
from dreamlayer_jax.diffusion.guidance import Guidance
from dreamlayer_jax.diffusion.noise import scene_keys
from dreamlayer_jax.diffusion.steps import sampling_steps
from dreamlayer_jax.prompts import TokenBatch

STEPS = 6


@pytest.fixture(scope="module")
def generate(config, params, scene, empty_ids) -> Any:
    ids, words, _ = scene(2, b=1)

    def run(known: KnownLatents | None = None) -> Any:
        steps, keys = sampling_steps(config.schedule, STEPS), scene_keys([0])
        return generate_layers(config, params, TokenBatch(ids, words), empty_ids, keys, steps, Guidance(weight=2.0), known=known)

    return run


def test_what_is_given_comes_out_unchanged_and_the_rest_heeds_it(scene, generate) -> None:
    latents, free = jnp.asarray(scene(2, b=1, seed=3)[2]), generate()
    mask = jnp.zeros((3, 1, 4, 4, 1)).at[0].set(1.0)
    made = generate(KnownLatents(latents=latents, mask=mask))
    np.testing.assert_allclose(made.latents[0], latents[0], atol=1e-6)
    assert np.abs(made.latents[1:] - free.latents[1:]).max() > 1e-2
    assert made.trajectory.states.shape == (STEPS, 3, 1, 4, 4, 4)


def test_nothing_given_is_plain_generation(scene, generate) -> None:
    latents = jnp.asarray(scene(2, b=1, seed=3)[2])
    made = generate(KnownLatents(latents=latents, mask=jnp.zeros((3, 1, 4, 4, 1))))
    np.testing.assert_allclose(made.latents, generate().latents, atol=1e-5)


def test_a_part_of_a_layer_can_be_given(scene, generate) -> None:
    latents = jnp.asarray(scene(2, b=1, seed=3)[2])
    mask = jnp.zeros((3, 1, 4, 4, 1)).at[1, :, :, :2].set(1.0)
    made = generate(KnownLatents(latents=latents, mask=mask))
    np.testing.assert_allclose(made.latents[1, :, :, :2], latents[1, :, :, :2], atol=1e-6)
    assert np.abs(made.latents[1, :, :, 2:] - latents[1, :, :, 2:]).max() > 1e-2


@pytest.mark.parametrize("given_clean", [False, True])
def test_what_is_given_whole_is_seen_clean_at_t_0_by_a_model_that_was_trained_for_it(config, scene, given_clean) -> None:
    config = dataclasses.replace(config, layered=dataclasses.replace(config.layered, given_clean=given_clean))
    clean, z = (jnp.asarray(scene(2, b=1, seed=seed)[2]) for seed in (3, 4))
    mask = jnp.zeros((3, 1, 4, 4, 1)).at[0].set(1.0).at[1, :, :, :2].set(1.0)
    seen, t = as_seen(config, z, jnp.int32(700), KnownTrajectory(trajectory=Trajectory(states=z[None], clean=clean), mask=mask))
    np.testing.assert_array_equal(seen, jnp.where(given_clean, z.at[0].set(clean[0]), z))
    assert t.tolist() == [[0 if given_clean else 700], [700], [700]]


def test_the_straight_trajectory_has_the_marginals_of_its_timesteps(config, scene) -> None:
    clean = jnp.asarray(scene(2, b=1)[2])
    steps = sampling_steps(config.schedule, STEPS)
    path = noised(clean, jnp.ones_like(clean), steps)
    for state, alpha in zip(path.states, steps.alpha_t, strict=True):
        np.testing.assert_allclose(state, np.sqrt(alpha) * clean + np.sqrt(1 - alpha), atol=1e-5)
