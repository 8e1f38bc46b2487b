"""The one softmax attention against NumPy in float64."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from dreamlayer_jax.attention.core import attention, attention_weights


def reference(q: np.ndarray, k: np.ndarray, v: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Keys that may not be seen are left out of the sum altogether. Loops over everything; shapes as in `attention`, keep (b, s)."""
    out = np.zeros((*q.shape[:3], v.shape[-1]))
    for b, t, n in np.ndindex(q.shape[:3]):
        weight = np.exp(k[b, keep[b], n].astype(np.float64) @ q[b, t, n] / np.sqrt(q.shape[-1]))
        out[b, t, n] = weight @ v[b, keep[b], n] / weight.sum()
    return out


def test_attention_is_the_softmax_over_the_kept_keys() -> None:
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(2, s, 3, 4)).astype(np.float32) for s in (5, 6, 6))
    keep = rng.random((2, 6)) < 0.6
    keep[:, 0] = True
    everything = np.ones_like(keep)
    np.testing.assert_allclose(attention(q, k, v), reference(q, k, v, everything), atol=1e-5)
    np.testing.assert_allclose(attention(q, k, v, keep[:, None, None, :]), reference(q, k, v, keep), atol=1e-5)


def test_weights_are_float32_and_sum_to_one_in_half_precision_too() -> None:
    rng = np.random.default_rng(1)
    q, k = (jnp.asarray(rng.normal(size=(1, 4, 2, 8)), jnp.bfloat16) for _ in range(2))
    weights = attention_weights(q, k)
    assert weights.dtype == jnp.float32
    np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-6)
    assert attention(q, k, k).dtype == jnp.bfloat16


def test_a_large_logit_does_not_overflow() -> None:
    q = jnp.full((1, 1, 1, 1), 1e4)
    k = jnp.array([1.0, 2.0]).reshape(1, 2, 1, 1)
    np.testing.assert_array_equal(attention_weights(q, k).ravel(), [0.0, 1.0])
