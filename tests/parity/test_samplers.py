"""Every sampler's whole runs against diffusers' schedulers, with an analytic function for a network, and numbers that they gave."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, LCMScheduler, TCDScheduler, UniPCMultistepScheduler

from dreamlayer_jax.config import Sampler, ScheduleConfig
from dreamlayer_jax.diffusion.schedule import alpha_table, clean_and_noise
from dreamlayer_jax.diffusion.solvers import dpm, unipc
from dreamlayer_jax.diffusion.solvers.linear import corrected, first_memory, linear_step
from dreamlayer_jax.diffusion.steps import SAMPLERS, Steps, most_steps, sampling_steps

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")  # diffusers', of torch's tensors

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SPACINGS = ("leading", "linspace", "trailing")
KINDS = (*((spacing, "epsilon") for spacing in SPACINGS), ("trailing", "v_prediction"), ("trailing", "sample"))
COUNTS = (1, 2, 3, 4, 8, 15, 33, 50)


def ours(steps: Steps, z: Any, kind: str = "epsilon", noise: Any = None, network: Any = lambda z: 0.7 * jnp.tanh(z)) -> Any:
    """A run of the linear step, without the loop; `noise` has one array a step."""
    memory = first_memory(z, steps)
    for i in range(len(steps)):
        at = steps[i]
        clean, _ = clean_and_noise(kind, jnp.float32(at.alpha_t), z, network(z))
        z, memory = linear_step(at, corrected(at, z, clean, memory), clean, memory, None if noise is None else noise[i])
    return z


def difference(found: Any, expected: torch.Tensor) -> float:
    """The largest, beside the largest value."""
    return float(np.abs(np.asarray(found) - expected.numpy()).max() / np.abs(expected.numpy()).max())


def scheduler(sampler: Sampler, spacing: str, kind: str) -> Any:
    """diffusers' own."""
    settings = {**BETAS, "prediction_type": kind, "steps_offset": 1}
    if sampler == "ddim":
        return DDIMScheduler(**settings, timestep_spacing=spacing, clip_sample=False, set_alpha_to_one=False)
    if sampler in ("lcm", "tcd"):
        return {"lcm": LCMScheduler, "tcd": TCDScheduler}[sampler](**settings, clip_sample=False, set_alpha_to_one=False)
    if sampler == "unipc":
        return UniPCMultistepScheduler(**settings, timestep_spacing=spacing, final_sigmas_type="zero")
    return DPMSolverMultistepScheduler(**settings, timestep_spacing=spacing, use_karras_sigmas=sampler == "dpm++-karras")


def theirs(sampler: Sampler, spacing: str, kind: str, n: int, z: torch.Tensor, noise: torch.Tensor) -> tuple[list[int], torch.Tensor]:
    """Timesteps, and where the run ends."""
    made = scheduler(sampler, spacing, kind)
    made.set_timesteps(n)
    fresh = iter(noise)
    options = {"eta": 0.3} if sampler == "tcd" else {}
    for t in made.timesteps:
        with pytest.MonkeyPatch.context() as patch:
            for module in ("scheduling_lcm", "scheduling_tcd"):
                patch.setattr(f"diffusers.schedulers.{module}.randn_tensor", lambda *_, **__: next(fresh))
            z = made.step(0.7 * torch.tanh(z), t, z, **options).prev_sample
    return made.timesteps.tolist(), z


def spaced(sampler: Sampler, spacing: str, kind: str, n: int) -> Steps:
    """Our run with the scheduler's spacing taken at its word, for "leading" too."""
    config = ScheduleConfig(prediction_type=kind, timestep_spacing=spacing)
    steps = sampling_steps(config, n, sampler)
    if sampler in ("dpm++", "unipc"):
        levels = dpm.spaced_levels(config, n, spacing)
        rule = unipc.coefficients if sampler == "unipc" else dpm.coefficients
        steps = Steps(**vars(levels), **vars(rule(levels.alpha_t, levels.alpha_next)), sampler=sampler)
    return steps


@pytest.mark.parametrize(
    ("spacing", "kind"), [*((spacing, "epsilon") for spacing in SPACINGS), ("trailing", "v_prediction"), ("trailing", "sample")]
)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_whole_runs_of_1_to_50_steps(sampler: Sampler, spacing: str, kind: str, draw) -> None:
    start, noise = draw(2, 4, 4, 4), draw(50, 2, 4, 4, 4)
    for n in COUNTS:
        expected_t, expected = theirs(sampler, spacing, kind, n, start, noise)
        steps = spaced(sampler, spacing, kind, n)
        assert steps.t.tolist() == expected_t
        found = ours(steps, jnp.asarray(start.numpy()), kind, noise.numpy())
        assert difference(found, expected) <= 1e-5


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_run_that_starts_in_the_middle_is_a_run_that_begins_there(sampler: Sampler, draw) -> None:
    start, noise = draw(2, 4, 4, 4), draw(12, 2, 4, 4, 4)
    whole = sampling_steps(ScheduleConfig(timestep_spacing="trailing"), 12, sampler)
    part = whole.below(600)
    made = scheduler(sampler, "trailing", "epsilon")
    made.set_timesteps(12)
    first = len(whole) - len(part)
    assert part.t.tolist() == [t for t in made.timesteps.tolist() if t <= 600]
    made.set_begin_index(first) if hasattr(made, "set_begin_index") else None
    z, fresh = start, iter(noise)
    for t in made.timesteps[first:]:
        with pytest.MonkeyPatch.context() as patch:
            for module in ("scheduling_lcm", "scheduling_tcd"):
                patch.setattr(f"diffusers.schedulers.{module}.randn_tensor", lambda *_, **__: next(fresh))
            z = made.step(0.7 * torch.tanh(z), t, z).prev_sample
    assert difference(ours(part, jnp.asarray(start.numpy()), noise=noise.numpy()), z) <= 1e-5


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_as_many_steps_as_can_be_taken(sampler: Sampler) -> None:
    for spacing in SPACINGS:
        config = ScheduleConfig(timestep_spacing=spacing)
        steps = sampling_steps(config, most_steps(config, sampler), sampler)
        assert len(steps) == len(steps.p) == most_steps(config, sampler)
        for numbers in (steps.p, steps.q, steps.r, steps.s, steps.correct):
            assert numbers is None or np.isfinite(numbers).all()
        with pytest.raises(ValueError, match="sampling steps"):
            sampling_steps(config, most_steps(config, sampler) + 1, sampler)


# From here on: numbers that diffusers 0.42.1's schedulers gave.

LISTS = {
    ("lcm", 4): [999, 759, 499, 259],
    ("tcd", 5): [999, 799, 599, 399, 199],
    ("lcm", 6): [999, 839, 679, 499, 339, 179],
    ("lcm", 8): [999, 879, 759, 639, 499, 379, 259, 139],
    ("dpm++-karras", 8): [999, 890, 746, 549, 299, 90, 12, 0],
    ("dpm++-karras", 20): [999, 962, 921, 876, 827, 772, 710, 640, 561, 474, 380, 285, 197, 123, 69, 35, 15, 6, 2, 0],
    ("dpm++", 8): [999, 874, 749, 624, 500, 375, 250, 125],
}


def test_golden_timesteps() -> None:
    for (sampler, n), expected in LISTS.items():
        assert sampling_steps(ScheduleConfig(), n, sampler).t.tolist() == expected
    assert spaced("unipc", "leading", "epsilon", 8).t.tolist() == [889, 778, 667, 556, 445, 334, 223, 112]
    assert spaced("dpm++", "trailing", "epsilon", 8).t.tolist() == [999, 874, 749, 624, 499, 374, 249, 124]


def test_golden_levels() -> None:
    alpha = alpha_table(ScheduleConfig())
    expected = [0.99915, 0.84314022, 0.65897553, 0.27766965, 0.05221293, 0.0046601]
    np.testing.assert_allclose(alpha[[0, 139, 259, 499, 759, 999]], expected, rtol=1e-5)
    karras = sampling_steps(ScheduleConfig(), 8, "dpm++-karras").alpha_t
    sigma = [14.6146, 7.9029, 4.0277, 1.9104, 0.8289, 0.3211, 0.1072, 0.0292]
    np.testing.assert_allclose(np.sqrt((1 - karras) / karras), sigma, atol=5e-5)


def test_golden_coefficients() -> None:
    lcm, tcd = (sampling_steps(ScheduleConfig(), 4, name) for name in ("lcm", "tcd"))
    np.testing.assert_allclose(lcm.q, [0.228501, 0.526944, 0.811773, 1], atol=1e-6)
    np.testing.assert_allclose(lcm.s, [0.973544, 0.849900, 0.583973, 0], atol=1e-6)
    np.testing.assert_allclose(lcm.p, 0, atol=1e-6)
    np.testing.assert_allclose(tcd.p, [0.411414, 0.532504, 0.503335, 0.049925], atol=1e-6)
    np.testing.assert_allclose(tcd.q, [0.200416, 0.405266, 0.546544, 0.959047], atol=1e-6)
    np.testing.assert_allclose(tcd.s, [0.882788, 0.673480, 0.397523, 0], atol=1e-6)


ENDS = {
    ("lcm", "leading", 1): (6.857516, -2.596833),
    ("lcm", "leading", 4): (5.637083, 0.400005),
    ("lcm", "leading", 8): (3.995972, 0.894699),
    ("tcd", "leading", 1): (6.870144, -2.605160),
    ("tcd", "leading", 4): (7.143703, 0.160802),
    ("tcd", "leading", 8): (7.827986, 1.563706),
    ("dpm++", "leading", 8): (3.103648, -0.784527),
    ("unipc", "leading", 8): (3.080912, -0.776799),
    ("dpm++", "trailing", 8): (5.710464, -1.203560),
    ("unipc", "trailing", 8): (5.654898, -1.175254),
    ("dpm++-karras", "leading", 8): (5.525025, -1.064375),
    ("dpm++", "leading", 20): (3.998099, -0.919569),
    ("unipc", "leading", 20): (3.986933, -0.916582),
    ("dpm++-karras", "leading", 20): (5.532861, -1.142731),
}
"""z after a run from (1, −0.5), ε̂ = 0.7 tanh(z), all fresh noise 0.5."""


@pytest.mark.parametrize(("sampler", "spacing", "n"), ENDS)
def test_golden_ends(sampler: Sampler, spacing: str, n: int) -> None:
    found = ours(spaced(sampler, spacing, "epsilon", n), jnp.array([1.0, -0.5]), noise=np.full(n, 0.5))
    np.testing.assert_allclose(found, ENDS[sampler, spacing, n], rtol=1e-5)
