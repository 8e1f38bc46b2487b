"""vmap = pmap = shard_map: the whole layered network, forward and gradient, on four virtual devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from dreamlayer_jax.diffusion.predict import encode_layers, predict

MESHES = {"four devices of layers": (1, 4), "two of scenes, two of layers": (2, 2), "two layers a device": (1, 2)}


@pytest.fixture(scope="module")
def forward_and_gradient(config, params, scene, empty_ids) -> Callable[[str | Mesh], Any]:
    """Output, and gradients with respect to parameters and latents of a loss that reads the predictions and both maps; Eq. 9 active."""
    ids, words, z = scene(3)
    contexts = encode_layers(config, params, ids, words, empty_ids)
    weights = np.random.default_rng(9).normal(size=z.shape).astype(np.float32)
    t = np.array([900, 950], np.int32)

    def run(where: str | Mesh) -> Any:
        def loss(unet: Any, z: Any) -> Any:
            out = predict(config, unet, z, t, contexts, where)
            return (out.sample * weights).sum() + jnp.square(out.maps.in_global - out.maps.in_own).sum(), out

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True), compiler_options={"xla_backend_optimization_level": 0})

    return lambda where: jax.tree.map(np.asarray, run(where)(params["unet"], z))


@pytest.fixture(scope="module")
def by_vmap(forward_and_gradient) -> Any:
    """The reference: all layers on one device."""
    return forward_and_gradient("vmap")


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
    same(forward_and_gradient("pmap"), by_vmap)


@pytest.mark.parametrize("mesh", MESHES)
def test_shard_map(mesh, forward_and_gradient, by_vmap) -> None:
    data, layer = MESHES[mesh]
    devices = np.array(jax.devices()[: data * layer]).reshape(data, layer)
    same(forward_and_gradient(Mesh(devices, ("data", "layer"))), by_vmap)
