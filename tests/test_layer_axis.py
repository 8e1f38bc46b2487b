"""The layer axis: order, roles, the global layer's broadcast, the same wherever the layers are mapped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from dreamlayer_jax.layer_axis import (
    LayerContext,
    Role,
    from_global,
    gather,
    gather_local,
    is_global,
    is_layer,
    join,
    map_layers,
    own,
    pad,
    pad_contexts,
    padded_sizes,
    roles,
    split,
)
from dreamlayer_jax.place import MESH_AXES, Place, PlaceError

LAYERS, B = 4, 2


def places() -> dict[str, Place]:
    """vmap, pmap, and meshes with one, two and four local layers."""
    devices = np.array(jax.devices())
    meshes = {f"data {d} × layer {l}": Mesh(devices[: d * l].reshape(d, l), MESH_AXES) for d, l in [(1, 4), (2, 2), (1, 2), (2, 1)]}
    return {"vmap": Place(), "pmap": Place(layers="pmap"), **{name: Place(mesh=mesh) for name, mesh in meshes.items()}}


def program(axis_names: tuple[str, ...]) -> Callable[..., Any]:
    def one_layer(scale: Any, x: Any, role: Any) -> Any:
        everyone = jnp.moveaxis(gather(x, axis_names), 0, 1)  # (b, l, c)
        doubled_here = own(2 * gather_local(x, axis_names), axis_names)
        return scale * everyone, from_global(x, role, axis_names), doubled_here

    return one_layer


@pytest.mark.parametrize("place", places())
def test_gather_keeps_layer_order_from_global_is_the_last_layer_and_own_undoes_gather_local(place) -> None:
    x = np.random.default_rng(0).normal(size=(LAYERS, B, 3)).astype(np.float32)
    everyone, of_global, doubled = map_layers(program, places()[place])(jnp.float32(2), x, roles(LAYERS))
    np.testing.assert_array_equal(everyone, np.broadcast_to(2 * np.moveaxis(x, 0, 1), (LAYERS, B, LAYERS, 3)))
    np.testing.assert_array_equal(of_global, np.broadcast_to(x[-1], x.shape))
    np.testing.assert_array_equal(doubled, 2 * x)


def test_alone_a_layer_hears_only_itself() -> None:
    x = np.ones((B, 3), np.float32)
    np.testing.assert_array_equal(gather(x, ()), x[None])
    np.testing.assert_array_equal(own(gather_local(x, ()), ()), x)
    np.testing.assert_array_equal(from_global(x, jnp.int32(Role.FOREGROUND), ()), x)


def test_roles() -> None:
    np.testing.assert_array_equal(roles(5), [Role.BACKGROUND, Role.FOREGROUND, Role.FOREGROUND, Role.FOREGROUND, Role.GLOBAL])
    np.testing.assert_array_equal(is_global(5), np.asarray(roles(5)) == Role.GLOBAL)
    np.testing.assert_array_equal(is_layer(5), np.asarray(roles(5)) != Role.GLOBAL)
    np.testing.assert_array_equal(roles(2), [Role.BACKGROUND, Role.GLOBAL])
    with pytest.raises(ValueError, match="1 images has no layer"):
        roles(1)


@pytest.mark.parametrize("xp", [np, jnp])
def test_join_undoes_split(xp) -> None:
    x = xp.arange(LAYERS * 3).reshape(LAYERS, 3)
    background, foregrounds, whole = split(x)
    np.testing.assert_array_equal(foregrounds, x[1:3])
    again = join(background, foregrounds, whole)
    assert isinstance(again, type(x))
    np.testing.assert_array_equal(again, x)


def test_a_layer_batch_is_padded_to_as_many_on_every_device_and_the_padding_is_seen_by_none() -> None:
    place = places()["data 2 × layer 2"]
    assert [padded_sizes(layers, scenes, place) for layers, scenes in ((3, 1), (4, 2), (5, 3))] == [(4, 2), (4, 2), (6, 4)]
    assert padded_sizes(5, 3, Place()) == (5, 3)
    words = np.zeros((3, B, 1), bool)
    contexts = LayerContext(role=roles(3), valid=None, prompt=np.zeros((3, B, 1, 2), np.float32), own=words, span=words)
    padded = pad_contexts(contexts, 4, B + 1)
    np.testing.assert_array_equal(padded.valid, [[True] * 3] * 3 + [[False] * 3])
    np.testing.assert_array_equal(padded.role, [Role.BACKGROUND, Role.FOREGROUND, Role.GLOBAL, Role.BACKGROUND])
    assert padded.prompt.shape == (4, B + 1, 1, 2)
    assert pad_contexts(contexts, 3, B + 1).valid is None
    np.testing.assert_array_equal(pad(jnp.arange(6).reshape(2, 3), 3, 4), [[0, 1, 2, 0], [3, 4, 5, 3], [0, 1, 2, 0]])


def test_what_a_mesh_cannot_divide_is_refused() -> None:
    x = np.zeros((LAYERS, 3, 1), np.float32)
    with pytest.raises(PlaceError, match="3 pictures a layer, of 4 layers, cannot be divided over the mesh data=2,layer=2"):
        map_layers(program, places()["data 2 × layer 2"])(jnp.float32(1), x, roles(LAYERS))
    with pytest.raises(PlaceError, match="5 images of the layer batch need a device each; there are 4"):
        map_layers(program, Place(layers="pmap"))(jnp.float32(1), np.zeros((5, B, 1), np.float32), roles(5))
