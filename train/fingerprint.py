"""Checksums of arrays, computed where they lie: the same on one device and on any mesh, so what is restored elsewhere can be checked."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, UInt32

_UNSIGNED = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}
_GOLDEN = 0x9E3779B1  # 2^32 over the golden ratio, odd


def fingerprint(tree: Any) -> UInt32[np.ndarray, " leaves"]:
    """One number a leaf, in the order of `jax.tree.leaves`.

    Every element's bits, as a number, times an odd weight of its place, summed modulo 2^32: a changed bit always changes the sum, and any
    other damage does but for once in some 2^32.
    """
    leaves = jax.tree.leaves(tree)
    meshes = [leaf.sharding.mesh for leaf in leaves if isinstance(leaf, jax.Array) and isinstance(leaf.sharding, NamedSharding)]
    return np.asarray(_sums(leaves, NamedSharding(meshes[0], PartitionSpec()) if meshes else None))


@partial(jax.jit, static_argnums=1)
def _sums(leaves: list[Array], everywhere: NamedSharding | None) -> UInt32[Array, " leaves"]:
    sums = jnp.stack([_of_array(leaf) for leaf in leaves])
    return sums if everywhere is None else jax.lax.with_sharding_constraint(sums, everywhere)


def _of_array(array: Array) -> UInt32[Array, ""]:
    bits = jax.lax.bitcast_convert_type(array, _UNSIGNED[array.dtype.itemsize]) if array.dtype != bool else array
    place = jnp.zeros(array.shape, jnp.uint32)
    for axis, size in enumerate(array.shape):
        place = place * jnp.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, array.shape, axis)
    mixed = (place + jnp.uint32(1)) * jnp.uint32(_GOLDEN)
    weight = (mixed ^ (mixed >> 15)) | jnp.uint32(1)
    return jnp.sum(bits.astype(jnp.uint32) * weight, dtype=jnp.uint32)
