"""A network over many pictures, a few at a time: what a decoder holds of one 512 × 512 picture is over a gigabyte."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.place import MESH_AXES, Place

PIXELS_AT_ONCE = 512 * 512


def by_picture(network: Callable[..., Array], pixels: int, place: Place, *pictures: Array) -> Array:
    """`network(*pictures)` over the leading axis, as many pictures of `pixels` pixels at once as `PIXELS_AT_ONCE` holds, one at least.

    On a mesh each device takes its share of the pictures.
    """
    if place.mesh is None:
        return _in_turn(network, pixels, *pictures)
    count = len(pictures[0])
    more = -count % place.mesh.size
    pictures = [jnp.concatenate([x, jnp.broadcast_to(x[:1], (more, *x.shape[1:]))]) for x in pictures]
    spread = PartitionSpec(MESH_AXES)
    share = jax.shard_map(lambda *own: _in_turn(network, pixels, *own), mesh=place.mesh, in_specs=spread, out_specs=spread, check_vma=False)
    return share(*pictures)[:count]


def _in_turn(network: Callable[..., Array], pixels: int, *pictures: Array) -> Array:
    at_once = max(1, PIXELS_AT_ONCE // pixels)
    if len(pictures[0]) <= at_once:
        return network(*pictures)
    return jax.lax.map(lambda one: network(*(x[None] for x in one))[0], pictures, batch_size=at_once)
