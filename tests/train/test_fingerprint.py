"""Checksums on the device."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from train.fingerprint import fingerprint


def test_every_single_bit_counts() -> None:
    values = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    flipped = np.repeat(values.reshape(1, -1), values.size * 32, axis=0).view(np.uint32)
    for n in range(values.size * 32):
        flipped[n, n // 32] ^= np.uint32(1) << np.uint32(n % 32)
    found = fingerprint(list(flipped.view(np.float32).reshape(-1, 4, 3)))
    assert (np.asarray(found) != np.asarray(fingerprint([values]))).all()


def test_places_count_and_every_type_has_one() -> None:
    a, b = jnp.arange(6.0).reshape(2, 3), jnp.arange(6.0).reshape(2, 3)[::-1]
    trees = [a, b, a.astype(jnp.bfloat16), jnp.arange(6).reshape(2, 3), jnp.array([True, False]), jnp.array([False, True])]
    assert len(set(np.asarray(fingerprint(trees)).tolist())) == len(trees)


def test_a_mesh_changes_nothing() -> None:
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    values = jnp.asarray(np.random.default_rng(1).normal(size=(8, 4, 2)), jnp.float32)
    spread = jax.device_put(values, NamedSharding(mesh, PartitionSpec(None, "data")))
    np.testing.assert_array_equal(fingerprint([spread]), fingerprint([values]))
