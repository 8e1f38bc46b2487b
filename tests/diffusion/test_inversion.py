"""Inversion: sampling from where it ends returns the picture, and Eq. 14-16 let every slot see the picture alone."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamlayer_jax.diffusion.decompose import decompose_layers
from dreamlayer_jax.diffusion.guidance import Guidance
from dreamlayer_jax.diffusion.inversion import invert, see_global_only
from dreamlayer_jax.diffusion.noise import scene_keys
from dreamlayer_jax.diffusion.predict import encode_layers, predict
from dreamlayer_jax.diffusion.solvers.ddim import ddim_step
from dreamlayer_jax.diffusion.steps import sampling_steps
from dreamlayer_jax.prompts import TokenBatch
from dreamlayer_jax.tasks.image_to_layers import METHODS

STEPS = 20


@pytest.fixture(scope="module")
def params(params) -> Any:
    """A network whose prediction depends on its input smoothly, as a trained one's does: a tenth of the drawn last convolution."""
    last = {name: 0.1 * value for name, value in params["unet"]["conv_out"].items()}
    return {**params, "unet": {**params["unet"], "conv_out": last}}


@pytest.fixture(scope="module")
def layers(config, params, scene, empty_ids) -> Any:
    ids, words, _ = scene(2, b=1)
    return encode_layers(config, params, ids, words, empty_ids)


@pytest.fixture(scope="module")
def inverted(config, params, layers) -> Any:
    steps = sampling_steps(config.schedule, STEPS)

    def go(clean: Any, masked: bool = True, refinements: int = 8) -> Any:
        context = see_global_only(layers) if masked else layers
        return invert(config, params["unet"], jnp.asarray(clean), context, steps, refinements=refinements)

    return go


def sampled(config: Any, params: Any, z: Any, layers: Any) -> Any:
    step = jax.jit(lambda z, t: predict(config, params["unet"], z, t, layers).sample)
    steps = sampling_steps(config.schedule, STEPS)
    for t, alpha_t, alpha_next in zip(steps.t, steps.alpha_t, steps.alpha_next, strict=True):
        z = ddim_step("epsilon", z, step(z, jnp.full(1, t)), alpha_t, alpha_next)
    return z


def test_sampling_returns_what_was_inverted_and_refining_brings_it_nearer(config, params, scene, layers, inverted) -> None:
    clean = 0.5 * scene(2, b=1, seed=1)[2]
    context = see_global_only(layers)
    errors = []
    for refinements in (0, 8):
        back = sampled(config, params, inverted(clean, refinements=refinements).states[0], context)
        errors.append(float(np.abs(back - clean).mean() / np.abs(clean).mean()))
    assert errors[1] < 0.02
    assert errors[1] < errors[0] / 3


def test_masked_a_slot_sees_the_picture_and_itself_only(scene, inverted) -> None:
    clean = scene(2, b=1, seed=1)[2]
    other = clean.copy()
    other[0] += 1.0  # the background's slot
    np.testing.assert_allclose(inverted(other).states[:, 1:], inverted(clean).states[:, 1:], rtol=1e-4, atol=1e-5)
    assert np.abs(inverted(other, masked=False).states[:, 1:] - inverted(clean, masked=False).states[:, 1:]).max() > 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_each_way_gives_the_layer_batch_and_the_picture_comes_back_where_it_is_kept(config, params, scene, empty_ids, method) -> None:
    ids, words, z = scene(2, b=1)
    picture = jnp.asarray(z[0])
    steps, guidance = sampling_steps(config.schedule, 4), Guidance(weight=1.5)
    made = decompose_layers(config, params, picture, TokenBatch(ids, words), empty_ids, scene_keys([0]), steps, guidance, method)
    assert made.latents.shape == (3, 1, 4, 4, 4)
    assert np.isfinite(made.latents).all()
    same = np.allclose(made.latents[-1], picture, atol=1e-6)
    assert same == (method != "inversion")
