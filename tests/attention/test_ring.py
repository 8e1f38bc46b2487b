"""Attention round a ring of devices is attention to all keys: forward, gradient and memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from dreamlayer_jax.attention.core import attention
from dreamlayer_jax.attention.ring import ring_attention
from dreamlayer_jax.layer_axis import ON_DEVICES
from dreamlayer_jax.place import make_mesh

DEVICES, B, HERE, HEADS, SIZE = 4, 2, 6, 2, 4


def round_the_ring(devices: int) -> Callable[..., jax.Array]:
    """`ring_attention` of whole arrays: queries and keys cut along the sequence, a part a device."""
    part = PartitionSpec(None, ON_DEVICES)

    def run(q: Any, k: Any, v: Any, keep: Any = None) -> jax.Array:
        specs = (part, part, part, PartitionSpec(None, None, None, ON_DEVICES))[: 3 + (keep is not None)]
        arguments = (q, k, v, keep)[: len(specs)]
        mesh = make_mesh(f"layer={devices}")
        return jax.shard_map(ring_attention, mesh=mesh, in_specs=specs, out_specs=part, check_vma=False)(*arguments)

    return run


def draw(dtype: Any = np.float32) -> list[jax.Array]:
    q, k, v = np.random.default_rng(0).normal(size=(3, B, DEVICES * HERE, HEADS, SIZE))
    return [jnp.asarray(x, dtype) for x in (q, 3 * k, v)]


@pytest.mark.parametrize("masked", [False, True])
def test_it_is_attention_to_the_keys_of_all_devices_forward_and_backward(masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masked: all keys of the first device, and some of the third's; also in tiles smaller than a device's part."""
    monkeypatch.setattr("dreamlayer_jax.attention.ring.CPU_TILE", (2, 3))
    keep = np.ones((B, 1, 1, DEVICES * HERE), bool)
    keep[..., :HERE] = keep[0, ..., 14] = False
    weights = np.random.default_rng(1).normal(size=(B, DEVICES * HERE, HEADS, SIZE)).astype(np.float32)

    def run(attend: Callable[..., jax.Array]) -> Any:
        def loss(q: Any, k: Any, v: Any) -> Any:
            out = attend(q, k, v, jnp.asarray(keep)) if masked else attend(q, k, v)
            return (out * weights).sum(), out

        return jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(*draw())

    jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, atol=1e-5, rtol=1e-5), run(round_the_ring(DEVICES)), run(attention))


def test_half_precision_sums_in_single() -> None:
    out = round_the_ring(DEVICES)(*draw(jnp.bfloat16))
    assert out.dtype == jnp.bfloat16
    exact = attention(*(x.astype(jnp.float32) for x in draw(jnp.bfloat16)))
    np.testing.assert_allclose(out.astype(jnp.float32), exact, atol=0.02)


def test_memory_a_device_does_not_grow_with_the_devices() -> None:
    """What XLA plans for a device, forward and backward, where each further device brings its own keys and queries."""

    def planned(devices: int) -> int:
        shape = jax.ShapeDtypeStruct((1, devices * 512, 1, 8), jnp.float32)
        loss = jax.grad(lambda q, k, v: round_the_ring(devices)(q, k, v).sum(), (0, 1, 2))
        return jax.jit(loss).lower(shape, shape, shape).compile().memory_analysis().temp_size_in_bytes

    assert planned(4) <= 1.05 * planned(2)
