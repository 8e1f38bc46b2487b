"""vmap = pmap = shard_map, gathered and round a ring: the whole layered network, forward and gradient, on four virtual devices."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamlayer_jax.diffusion.denoise import map_steps
from dreamlayer_jax.diffusion.predict import encode_layers, predict
from dreamlayer_jax.diffusion.steps import sampling_steps
from dreamlayer_jax.place import Place, make_place


@pytest.fixture(scope="module")
def forward_and_gradient(config, params, scene, empty_ids) -> Callable[[Place], Any]:
    """Output, and gradients with respect to parameters and latents of a loss that reads the predictions and both maps; Eq. 9 active."""
    ids, words, z = scene(3)
    contexts = encode_layers(config, params, ids, words, empty_ids)
    weights = np.random.default_rng(9).normal(size=z.shape).astype(np.float32)
    t = np.array([900, 950], np.int32)

    def run(place: Place) -> Any:
        def loss(unet: Any, z: Any) -> Any:
            out = predict(config, unet, z, t, contexts, place)
            return (out.sample * weights).sum() + jnp.square(out.maps.in_global - out.maps.in_own).sum(), out

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True), compiler_options={"xla_backend_optimization_level": 0})

    return lambda place: jax.tree.map(np.asarray, run(place)(params["unet"], z))


@pytest.fixture(scope="module")
def by_vmap(forward_and_gradient) -> Any:
    """The reference: all layers on one device."""
    return forward_and_gradient(Place())


def same(ours: Any, expected: Any) -> None:
    """Predictions and maps within 1e-5; the gradient within 1e-5 of its largest entry, and no array of it further off than 1e-4 of its own.

    Eq. 4's norm divides by a map's span, so single small arrays of the gradient carry a little more rounding than the whole.
    """
    assert jax.tree.structure(ours) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(ours[0]), jax.tree.leaves(expected[0]), strict=True):
        assert np.abs(a - e).max() <= 1e-5 * max(1.0, np.abs(e).max())
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected[1]))
    assert largest > 1e-2
    for a, e in zip(jax.tree.leaves(ours[1]), jax.tree.leaves(expected[1]), strict=True):
        assert np.abs(a - e).max() <= min(1e-5 * largest, 1e-4 * max(1.0, np.abs(e).max()))


def test_pmap(forward_and_gradient, by_vmap) -> None:
    same(forward_and_gradient(Place(layers="pmap")), by_vmap)


def test_shard_map(forward_and_gradient, by_vmap) -> None:
    """Two rows of scenes, two layers on each of two devices."""
    same(forward_and_gradient(make_place("data=2,layer=2")), by_vmap)


def test_ring(forward_and_gradient, by_vmap) -> None:
    """Four layers on three devices, two on each: two of them are padding."""
    same(forward_and_gradient(make_place("layer=3", exchange="ring")), by_vmap)


def test_limited_keys(config, params, scene, empty_ids, by_vmap) -> None:
    """A quarter of each foreground's keys, on one device and on a mesh with padding."""
    ids, words, z = scene(3)
    contexts = encode_layers(config, params, ids, words, empty_ids)
    limited = dataclasses.replace(config, layered=dataclasses.replace(config.layered, foreground_keys=0.25))

    def run(place: Place) -> Any:
        return np.asarray(predict(limited, params["unet"], z, np.array([900, 950], np.int32), contexts, place, maps=False).sample)

    quarter, full = run(Place()), by_vmap[0][1].sample
    np.testing.assert_allclose(run(make_place("layer=3")), quarter, atol=1e-5)
    assert np.abs(quarter - full).max() > 1e-3


def test_over_devices_nothing_of_the_maps_is_exchanged_after_t_g(config, params, scene, empty_ids) -> None:
    """LSSA gathers; the context maps and Eq. 9 are the only sums over layers. What is told of the maps is those of the steps before."""
    ids, words, z = scene(3)
    contexts = encode_layers(config, params, ids, words, empty_ids)
    place = make_place("data=2,layer=2")

    def sums(early: bool) -> int:
        program = partial(predict, config, place=place, guided=early, maps=early)
        return str(jax.make_jaxpr(program)(params["unet"], z, np.array([900, 950], np.int32), contexts)).count("psum")

    assert sums(True) > 0
    assert sums(False) == 0
    steps = sampling_steps(config.schedule, 20)
    acts = np.asarray(steps.t) >= config.layered.t_guided
    assert 0 < acts.sum() < 20
    assert list(map_steps(config, steps, place)) == list(acts)
    off = dataclasses.replace(config, layered=dataclasses.replace(config.layered, guided=False))
    assert map_steps(config, steps, Place()).all()
    assert map_steps(off, steps, place).all()
