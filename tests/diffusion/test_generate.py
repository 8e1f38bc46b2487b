"""Text to layers: one seed, one result, however the scan is cut into pieces."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from dreamlayer_jax.diffusion.generate import GeneratedLatents, generate_layers, starting_noise
from dreamlayer_jax.prompts import TokenBatch

STEPS = 20


@pytest.fixture(scope="module")
def generate(config, params, scene, empty_ids) -> Any:
    """(seed, …) to the latents of two scenes with one foreground."""
    ids, words, _ = scene(2)

    def run(seed: int, **options: Any) -> GeneratedLatents:
        key = jax.random.key(seed)
        return generate_layers(config, params, TokenBatch(ids, words), empty_ids, key, steps=STEPS, guidance=2.0, **options)

    return run


def test_a_seed_is_one_result_and_pieces_are_the_whole(generate) -> None:
    done: list[int] = []
    whole, again, pieces, other = generate(0), generate(0), generate(0, on_piece=lambda n, _: done.append(n)), generate(1)
    assert whole.latents.shape == (3, 2, 4, 4, 4)
    assert np.isfinite(whole.latents).all()
    jax.tree.map(np.testing.assert_array_equal, again, whole)
    assert done == list(range(2, STEPS + 1, 2))
    scale = np.abs(whole.latents).max()
    np.testing.assert_allclose(pieces.latents / scale, whole.latents / scale, atol=1e-5)
    np.testing.assert_allclose(pieces.context_maps, whole.context_maps, atol=1e-5)
    assert np.abs(other.latents - whole.latents).max() > 1e-2
    assert whole.context_maps.shape == (3, 2, 4, 4)
    assert whole.context_maps.min() >= 0
    assert whole.context_maps.max() <= 1
    assert not whole.context_maps[-1].any()


def test_starting_noise_is_a_layers_own_or_one_for_all(config) -> None:
    own = starting_noise(config, jax.random.key(0), 3, 2, 8, 16)
    assert own.shape == (3, 2, 4, 8, 4)
    assert np.abs(own[0] - own[1]).max() > 0.1
    same = dataclasses.replace(config, layered=dataclasses.replace(config.layered, same_noise=True))
    noise = np.asarray(starting_noise(same, jax.random.key(0), 3, 2, 8, 16))
    np.testing.assert_array_equal(noise, np.broadcast_to(noise[:1], noise.shape))
    assert np.abs(noise[0, 0] - noise[0, 1]).max() > 0.1
