"""Eq. 12: what fusing is, when it acts, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamlayer_jax.compositing import composite
from dreamlayer_jax.diffusion.denoise import Trajectory, ddim_steps, guidance_contexts, noised
from dreamlayer_jax.diffusion.harmonize import alpha_at_latent, fuse, harmonize
from dreamlayer_jax.prompts import TokenBatch

STEPS = 10


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_eq_12_by_hand() -> None:
    background, foregrounds = draw(1, 2, 2, 3), draw(2, 1, 2, 2, 3, seed=1)
    alphas = np.random.default_rng(2).uniform(size=(2, 1, 2, 2, 1)).astype(np.float32)
    expected = background * (1 - alphas[0]) * (1 - alphas[1]) + foregrounds[0] * alphas[0] * (1 - alphas[1]) + foregrounds[1] * alphas[1]
    np.testing.assert_allclose(fuse(background, foregrounds, alphas), expected, atol=1e-6)


def test_eq_12_is_eq_1_in_latent_space() -> None:
    rgba = np.random.default_rng(3).uniform(size=(3, 4, 4, 4)).astype(np.float32)
    rgba[0, ..., 3] = 1
    fused = fuse(rgba[:1, ..., :3], rgba[1:, None, ..., :3], rgba[1:, None, ..., 3:])
    np.testing.assert_allclose(fused[0], composite(rgba), atol=1e-6)


def test_alpha_at_the_latent_is_the_mean_of_its_pixels() -> None:
    alpha = np.random.default_rng(4).uniform(size=(2, 1, 8, 8)).astype(np.float32)
    found = alpha_at_latent(alpha, 2, 2)
    assert found.shape == (2, 1, 2, 2, 1)
    np.testing.assert_allclose(found.mean(), alpha.mean(), rtol=0.05)
    np.testing.assert_allclose(alpha_at_latent(np.ones_like(alpha), 2, 2), 1.0, rtol=1e-6)


@pytest.fixture(scope="module")
def run(config, params, scene, empty_ids) -> Any:
    """`run(alpha, …)` harmonises one scene of two foregrounds from T_H = 600."""
    ids, words, z = scene(3, b=1)
    contexts = guidance_contexts(config, params, TokenBatch(ids, words), empty_ids)
    steps = jax.tree.map(jnp.asarray, ddim_steps(config, STEPS).below(600))
    kept = noised(jnp.asarray(z), jnp.asarray(draw(*z.shape, seed=5)), steps)

    def harmonized(alpha: np.ndarray, change: Any = lambda x: x, **options: Any) -> Trajectory:
        changed = Trajectory(states=change(kept.states), clean=change(kept.clean))
        return harmonize(config, params["unet"], changed, jnp.asarray(alpha), contexts, steps, jnp.float32(2.0), **options)

    return harmonized


def test_foregrounds_enter_by_their_alpha_within_the_window_only(run) -> None:
    clear, square = np.zeros((2, 1, 8, 8), np.float32), np.zeros((2, 1, 8, 8), np.float32)
    square[:, :, :4] = 1
    without, fused, never = run(clear), run(square), run(square, t_end=1000)
    assert without.clean.shape == (1, 4, 4, 4)
    assert len(without.states) == 6  # t = 501, 401, …, 1
    np.testing.assert_allclose(never.clean, without.clean, rtol=1e-6)
    assert np.abs(fused.clean - without.clean).max() > 1e-2


def test_alone_the_layers_in_their_slots_do_not_matter(run) -> None:
    clear = np.zeros((2, 1, 8, 8), np.float32)

    def shifted(x: jax.Array) -> jax.Array:
        return x.at[..., 1:-1, :, :, :, :].add(1.0)

    np.testing.assert_allclose(run(clear, shifted, alone=True).clean, run(clear, alone=True).clean, rtol=1e-6)
    assert np.abs(run(clear, shifted).clean - run(clear).clean).max() > 1e-3


def test_under_one_noise_the_fused_latent_is_the_fused_scene_under_that_noise(config, run) -> None:
    soft = np.full((2, 1, 8, 8), 0.5, np.float32)
    seen: dict[str, jax.Array] = {}

    def note(x: jax.Array) -> jax.Array:
        seen[str(x.ndim)] = x
        return x

    first = run(soft, note, t_end=600)  # never laid in: the first state is the background's own
    states, clean = seen["6"], seen["5"]
    np.testing.assert_allclose(first.states[0], states[0, 0], rtol=1e-6)
    alpha = float(ddim_steps(config, STEPS).below(600).alpha_t[0])
    noise = (states[0, 0] - np.sqrt(alpha) * clean[0]) / np.sqrt(1 - alpha)
    half = np.full((2, 1, 4, 4, 1), 0.5, np.float32)
    laid = fuse(states[0, 0], np.sqrt(alpha) * clean[1:-1] + np.sqrt(1 - alpha) * noise[None], half)
    expected = np.sqrt(alpha) * fuse(clean[0], clean[1:-1], half) + np.sqrt(1 - alpha) * noise
    np.testing.assert_allclose(laid, expected, atol=1e-5)
