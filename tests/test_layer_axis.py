"""The layer axis: order, roles, the global layer's broadcast, the same wherever the layers are mapped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from dreamlayer_jax.layer_axis import AxisNames, Role, from_global, gather, map_layers, roles

LAYERS, B = 4, 2


def places() -> dict[str, str | Mesh]:
    """vmap, pmap, and meshes with one, two and four local layers."""
    devices = np.array(jax.devices())
    meshes = {f"data {d} × layer {l}": Mesh(devices[: d * l].reshape(d, l), ("data", "layer")) for d, l in [(1, 4), (2, 2), (1, 2), (2, 1)]}
    return {"vmap": "vmap", "pmap": "pmap", **meshes}


def program(axis_names: AxisNames) -> Callable[..., Any]:
    def one_layer(scale: Any, x: Any, role: Any) -> Any:
        everyone = jnp.moveaxis(gather(x, axis_names), 0, 1)  # (b, l, c)
        return scale * everyone, from_global(x, role, axis_names)

    return one_layer


@pytest.mark.parametrize("place", places())
def test_gather_keeps_layer_order_and_from_global_is_the_last_layer(place) -> None:
    x = np.random.default_rng(0).normal(size=(LAYERS, B, 3)).astype(np.float32)
    everyone, of_global = map_layers(program, places()[place])(jnp.float32(2), x, roles(LAYERS))
    np.testing.assert_array_equal(everyone, np.broadcast_to(2 * np.moveaxis(x, 0, 1), (LAYERS, B, LAYERS, 3)))
    np.testing.assert_array_equal(of_global, np.broadcast_to(x[-1], x.shape))


def test_alone_a_layer_hears_only_itself() -> None:
    x = np.ones((B, 3), np.float32)
    np.testing.assert_array_equal(gather(x, ()), x[None])
    np.testing.assert_array_equal(from_global(x, jnp.int32(Role.FOREGROUND), ()), x)


def test_roles() -> None:
    np.testing.assert_array_equal(roles(5), [Role.BACKGROUND, Role.FOREGROUND, Role.FOREGROUND, Role.FOREGROUND, Role.GLOBAL])
    with pytest.raises(ValueError, match="2 images has no foreground"):
        roles(2)


def test_unknown_places_are_refused() -> None:
    with pytest.raises(ValueError, match="not 'tpu'"):
        map_layers(program, "tpu")
    with pytest.raises(ValueError, match=r"axes \('x', 'layer'\)"):
        map_layers(program, Mesh(np.array(jax.devices()).reshape(2, 2), ("x", "layer")))
