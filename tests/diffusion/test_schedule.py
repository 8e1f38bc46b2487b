"""The diffusion process (Eq. 2) and DDIM: exact noise lands on the marginal, and steps can be taken back."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dreamlayer_jax.config import ScheduleConfig
from dreamlayer_jax.diffusion.guidance import guided
from dreamlayer_jax.diffusion.schedule import add_noise, alphas_cumprod, clean_and_noise, final_alpha_cumprod, target, timesteps
from dreamlayer_jax.diffusion.solvers.ddim import ddim_step

KINDS = ("epsilon", "v_prediction", "sample")


@pytest.fixture(scope="module")
def alpha() -> np.ndarray:
    """ᾱ of Stable Diffusion 1.5."""
    return np.asarray(alphas_cumprod(ScheduleConfig()))


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """A clean latent and noise, three scenes."""
    return tuple(np.random.default_rng(0).normal(size=(2, 3, 4, 4, 2)).astype(np.float32))


def test_the_schedule_falls_from_nearly_1_to_nearly_0(alpha) -> None:
    assert alpha.shape == (1000,)
    assert (np.diff(alpha) < 0).all()
    second_beta = (0.00085**0.5 + (0.012**0.5 - 0.00085**0.5) / 999) ** 2
    np.testing.assert_allclose(alpha[[0, 1]], [1 - 0.00085, (1 - 0.00085) * (1 - second_beta)], rtol=1e-6)
    assert final_alpha_cumprod(ScheduleConfig()) == pytest.approx(float(alpha[0]))
    assert final_alpha_cumprod(dataclasses.replace(ScheduleConfig(), set_alpha_to_one=True)) == 1


def test_noised_latents_have_the_marginals_mean_and_variance(alpha) -> None:
    t = np.array([10, 500, 990])
    noise = np.random.default_rng(1).normal(size=(3, 100_000)).astype(np.float32)
    z = np.asarray(add_noise(alpha[t], np.full_like(noise, 2), noise))
    np.testing.assert_allclose(z.mean(1), 2 * np.sqrt(alpha[t]), atol=0.02)
    np.testing.assert_allclose(z.var(1), 1 - alpha[t], atol=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_the_target_stands_for_the_latent_and_the_noise_it_was_made_of(kind, alpha, pair) -> None:
    clean, noise = pair
    a = alpha[np.array([50, 400, 800])]
    z = add_noise(a, clean, noise)
    found = clean_and_noise(kind, a, z, target(kind, a, clean, noise))
    np.testing.assert_allclose(found[0], clean, atol=1e-4)
    np.testing.assert_allclose(found[1], noise, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("t", "s"), [(900, 300), (300, 900)])
def test_the_exact_prediction_moves_along_the_marginal_and_back(kind, t, s, alpha, pair) -> None:
    clean, noise = pair
    here, there = (add_noise(np.full(3, alpha[i]), clean, noise) for i in (t, s))
    exact = [target(kind, np.full(3, alpha[i]), clean, noise) for i in (t, s)]
    moved = ddim_step(kind, here, exact[0], alpha[t], alpha[s])
    np.testing.assert_allclose(moved, there, atol=1e-4)
    np.testing.assert_allclose(ddim_step(kind, moved, exact[1], alpha[s], alpha[t]), here, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_prediction_is_undone_by_the_one_that_means_the_same(kind, alpha, pair) -> None:
    """Whatever was predicted: the step back with the same ẑ_0 and ε̂ returns."""
    z, prediction = pair
    a, b = alpha[600], alpha[200]
    clean, noise = clean_and_noise(kind, np.full(3, a), z, prediction)
    moved = ddim_step(kind, z, prediction, a, b)
    np.testing.assert_allclose(ddim_step(kind, moved, target(kind, np.full(3, b), clean, noise), b, a), z, atol=1e-4)


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("steps", [1, 7, 50, 1000])
def test_timesteps_fall_within_the_schedule(spacing, steps) -> None:
    t = timesteps(ScheduleConfig(timestep_spacing=spacing), steps)
    assert len(t) == steps
    assert (np.diff(t) <= 0).all()
    assert t.min() >= 0
    assert t.max() <= 999


@pytest.mark.parametrize("steps", [0, 1001])
def test_impossible_step_counts_are_refused(steps) -> None:
    with pytest.raises(ValueError, match=f"{steps} sampling steps asked for; the schedule has 1000 timesteps"):
        timesteps(ScheduleConfig(), steps)


def test_guidance_extrapolates_from_the_unprompted() -> None:
    both = np.array([[1.0], [2.0], [4.0], [8.0]])
    np.testing.assert_allclose(guided(both, 1.0), [[4], [8]])
    np.testing.assert_allclose(guided(both, 0.0), [[1], [2]])
    np.testing.assert_allclose(guided(both.T, 3.0, axis=1), [[1 + 3 * 3, 2 + 3 * 6]])
