"""Eq. 12: what fusing is, when it acts, and what it leaves alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from dreamlayer_jax.compositing import composite, mean_over_cells
from dreamlayer_jax.config import HarmonizeConfig
from dreamlayer_jax.diffusion.denoise import Trajectory, denoise, guidance_contexts, noised
from dreamlayer_jax.diffusion.guidance import Guidance
from dreamlayer_jax.diffusion.harmonize import fuse, harmonize
from dreamlayer_jax.diffusion.steps import sampling_steps
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


@pytest.fixture(scope="module")
def run(config, params, scene, empty_ids) -> Any:
    """`run(alpha, …)` harmonises one scene of two foregrounds from T_H = 600."""
    ids, words, z = scene(3, b=1)
    z, guidance = jnp.asarray(z), Guidance(weight=2.0)
    contexts = guidance_contexts(config, params, TokenBatch(ids, words), empty_ids, guidance)
    steps = sampling_steps(config.schedule, STEPS).below(600)

    def harmonized(
        alpha: np.ndarray, what: str = "kept", t_h_end: int = 400, noise: np.ndarray | None = None, blend: np.ndarray | None = None
    ) -> Trajectory:
        kept = noised(z, jnp.asarray(draw(*z.shape, seed=5) if noise is None else np.broadcast_to(noise, z.shape)), steps)
        own = dataclasses.replace(config, harmonize=HarmonizeConfig(fuse=what))
        soft = mean_over_cells(jnp.asarray(alpha), *z.shape[2:4])[..., None]
        blend = fuse(z[0], z[1:-1], soft) if blend is None else jnp.asarray(blend)
        return harmonize(own, params["unet"], kept, jnp.asarray(alpha), blend, contexts, steps, guidance, t_h_end)

    return harmonized


def clear_and_square() -> tuple[np.ndarray, np.ndarray]:
    """Alphas of two foregrounds that are nowhere, and that fill the upper half."""
    clear, square = np.zeros((2, 1, 8, 8), np.float32), np.zeros((2, 1, 8, 8), np.float32)
    square[:, :, :4] = 1
    return clear, square


@pytest.mark.parametrize("what", ["kept", "blend"])
def test_foregrounds_enter_by_their_alpha_within_the_window_only(run, what: str) -> None:
    clear, square = clear_and_square()
    without, fused, never = run(clear, what), run(square, what), run(square, what, t_h_end=1000)
    assert without.clean.shape == (1, 4, 4, 4)
    assert len(without.states) == 6  # t = 501, 401, …, 1
    np.testing.assert_allclose(never.clean, without.clean, rtol=1e-6)
    assert np.abs(fused.clean - without.clean).max() > 1e-2


def test_what_is_laid_in_is_the_kept_latents_or_the_blends(run) -> None:
    _, square = clear_and_square()
    other = draw(1, 4, 4, 4, seed=6)
    np.testing.assert_array_equal(run(square, "kept", blend=other).clean, run(square, "kept").clean)
    assert np.abs(run(square, "blend", blend=other).clean - run(square, "blend").clean).max() > 1e-2


def test_a_latent_that_is_covered_in_part_is_laid_in_by_the_fourth_power(run) -> None:
    half, full = np.full((2, 1, 8, 8), 0.0, np.float32), np.full((2, 1, 8, 8), 0.0, np.float32)
    half[0], full[0] = 0.5, 1.0
    other = 100 * draw(1, 4, 4, 4, seed=6)
    first = [run(alpha, "blend", blend=other).states[0] for alpha in (half * 0, half, full)]
    np.testing.assert_allclose(first[1], first[0] * (1 - 0.5**4) + first[2] * 0.5**4, rtol=1e-4, atol=1e-4)


def test_the_blend_is_eq_12_where_layers_share_their_noise_and_the_encoder_is_linear(run) -> None:
    opaque, noise = np.zeros((2, 1, 8, 8), np.float32), draw(1, 1, 4, 4, 4, seed=7)
    opaque[0] = 1
    kept, blend = run(opaque, "kept", noise=noise), run(opaque, "blend", noise=noise)
    np.testing.assert_allclose(blend.clean, kept.clean, atol=1e-4)
    np.testing.assert_allclose(blend.states, kept.states, atol=1e-4)


def test_where_no_layer_reaches_the_global_one_it_is_predicted_alone(config, params, scene, empty_ids) -> None:
    """The program has one image where it had four, and says the same."""
    ids, words, z = scene(3, b=1)
    apart = dataclasses.replace(config, layered=dataclasses.replace(config.layered, layer_shared=False, guided=False))
    guidance, steps = Guidance(weight=2.0), sampling_steps(config.schedule, STEPS).below(600)
    contexts = guidance_contexts(apart, params, TokenBatch(ids, words), empty_ids, guidance)
    kept = noised(jnp.asarray(z), jnp.asarray(draw(*z.shape, seed=5)), steps)
    clear, _ = clear_and_square()
    alone = harmonize(apart, params["unet"], kept, jnp.asarray(clear), kept.clean[0], contexts, steps, guidance, 400)
    start = jnp.concatenate([kept.states[0, :-1], kept.states[0, :1]])  # the pass begins as the background
    among = denoise(apart, params["unet"], start, contexts, steps, guidance)
    np.testing.assert_allclose(alone.clean, among.trajectory.clean[-1], rtol=1e-4, atol=1e-4)
    assert not apart.layered.global_hears
    assert config.layered.global_hears
