"""Text to layers: one seed, one result, however the scan is cut into pieces."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from dreamlayer_jax.diffusion.generate import GeneratedLatents, generate_layers
from dreamlayer_jax.diffusion.guidance import Guidance
from dreamlayer_jax.diffusion.noise import layer_noise, scene_keys
from dreamlayer_jax.diffusion.steps import sampling_steps
from dreamlayer_jax.prompts import TokenBatch

STEPS = 20


@pytest.fixture(scope="module")
def generate(config, params, scene, empty_ids) -> Any:
    """(seeds, …) to the latents of as many scenes with one foreground."""
    ids, words, _ = scene(2)

    def run(*seeds: int, scenes: slice = slice(None), sampler: str = "ddim", guidance: Any = 2.0, **options: Any) -> GeneratedLatents:
        tokens, steps = TokenBatch(ids[:, scenes], words[:, scenes]), sampling_steps(config.schedule, STEPS, sampler)
        weight = guidance if isinstance(guidance, Guidance) else Guidance(weight=guidance)
        return generate_layers(config, params, tokens, empty_ids, scene_keys(seeds), steps, weight, **options)

    return run


def test_a_seed_is_one_result_and_pieces_are_the_whole(generate) -> None:
    done: list[int] = []
    whole, again = generate(0, 1), generate(0, 1)
    pieces, other = generate(0, 1, piece=7, on_piece=lambda steps, _: done.append(steps)), generate(2, 3)
    assert whole.latents.shape == (3, 2, 4, 4, 4)
    assert np.isfinite(whole.latents).all()
    jax.tree.map(np.testing.assert_array_equal, again, whole)
    assert done == [7, 14, 20]
    scale = np.abs(whole.latents).max()
    np.testing.assert_allclose(pieces.latents / scale, whole.latents / scale, atol=1e-5)
    np.testing.assert_allclose(pieces.context_maps, whole.context_maps, atol=1e-5)
    assert np.abs(other.latents - whole.latents).max() > 1e-2
    assert whole.context_maps.shape == (3, 2, 4, 4)
    assert whole.context_maps.min() >= 0
    assert whole.context_maps.max() <= 1
    assert not whole.context_maps[-1].any()


def test_a_scene_is_the_same_alone_and_among_others_and_its_last_states_are_kept(generate) -> None:
    both, alone = generate(0, 1), generate(1, scenes=slice(1, 2), keep=6)
    scale = np.abs(alone.latents).max()
    np.testing.assert_allclose(both.latents[:, 1:] / scale, alone.latents / scale, atol=1e-5)
    np.testing.assert_allclose(both.trajectory.states[-6:, :, 1:] / scale, alone.trajectory.states / scale, atol=1e-5)


@pytest.mark.parametrize("sampler", ["dpm++", "unipc", "lcm"])
def test_every_kind_of_sampler_runs_in_pieces(generate, sampler: str) -> None:
    whole, pieces = generate(0, 1, sampler=sampler), generate(0, 1, sampler=sampler, piece=10)
    scale = np.abs(whole.latents).max()
    np.testing.assert_allclose(pieces.latents / scale, whole.latents / scale, atol=1e-5)


def test_guidance_of_1_is_the_prompted_prediction_and_an_interval_is_guidance_there_alone(generate) -> None:
    none, zero, full = generate(0, 1, guidance=1.0), generate(0, 1, guidance=0.0), generate(0, 1)
    nearly = generate(0, 1, guidance=1.0 + 1e-6)  # both halves are run
    scale = np.abs(none.latents).max()
    np.testing.assert_allclose(nearly.latents / scale, none.latents / scale, atol=1e-4)
    np.testing.assert_array_equal(zero.latents, none.latents)
    part = generate(0, 1, guidance=Guidance(weight=2.0, interval=(700, 300)))
    scale = np.abs(none.trajectory.states).max()
    np.testing.assert_allclose(part.trajectory.states[:6] / scale, none.trajectory.states[:6] / scale, atol=1e-5)  # t = 951, …, 701
    assert all(np.abs(part.latents - other.latents).max() > 1e-2 for other in (none, full))
    np.testing.assert_array_equal(generate(0, 1, guidance=Guidance(weight=2.0, interval=(1000, 0))).latents, full.latents)


def test_what_guidance_leads_away_from(generate, scene, empty_ids) -> None:
    ids, _, _ = scene(2)
    plain, same, away = generate(0, 1), generate(0, 1, negative_ids=empty_ids), generate(0, 1, negative_ids=ids[0, 0])
    np.testing.assert_array_equal(same.latents, plain.latents)
    assert np.abs(away.latents - plain.latents).max() > 1e-2
    np.testing.assert_array_equal(generate(0, 1, negative_ids=ids[0, 0], guidance=1.0).latents, generate(0, 1, guidance=1.0).latents)


def test_starting_noise_is_a_scenes_own_and_a_layers_own_or_one_for_all_layers() -> None:
    shape = (3, 2, 4, 8, 4)
    own, same = (np.asarray(layer_noise(scene_keys([0, 1]), shape, same=same)) for same in (False, True))
    assert np.abs(own[0] - own[1]).max() > 0.1
    np.testing.assert_array_equal(same, np.broadcast_to(same[:1], same.shape))
    assert np.abs(same[0, 0] - same[0, 1]).max() > 0.1
    np.testing.assert_array_equal(own[:, 1:], layer_noise(scene_keys([1]), (3, 1, 4, 8, 4), same=False))
