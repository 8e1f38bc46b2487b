"""The one softmax attention against NumPy in float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamlayer_jax.attention.core import at_once, attention, attention_weights, in_tiles, largest_divisor


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


def draw(t: int, s: int) -> tuple[jax.Array, ...]:
    keys = jax.random.split(jax.random.key(0), 3)
    return tuple(jax.random.normal(key, (1, length, 2, 8)) for key, length in zip(keys, (t, s, s), strict=True))


@pytest.mark.parametrize("tile", [(4, 5), (12, 2), (1, 10), (5, 7)])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("in_turn", [False, True])
def test_tiles_give_what_all_at_once_does(tile: tuple[int, int], masked: bool, in_turn: bool) -> None:
    """Also where every key of the first tile is masked, and where the highest logits come last."""
    q, k, v = draw(12, 10)
    k = k * jnp.arange(1, 11)[None, :, None, None]
    keep = ((jnp.arange(10) > 5) & (jnp.arange(10) < 9))[None, None, None, :] if masked else None

    def with_gradients(attend: Callable[..., jax.Array]) -> tuple:
        def loss(q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
            out = attend(q, k, v, keep)
            return (out**2).sum(), out

        return jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(q, k, v)

    ours = with_gradients(partial(in_tiles, tile=tile, in_turn=in_turn))
    jax.tree.map(lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4), ours, with_gradients(at_once))


@pytest.mark.parametrize(("n", "most", "found"), [(4096, 512, 512), (6912, 512, 432), (7, 3, 1), (5, 9, 5)])
def test_the_largest_divisor(n: int, most: int, found: int) -> None:
    assert largest_divisor(n, most) == found


def test_memory_is_linear_in_the_tokens() -> None:
    """What XLA plans for twice the tokens, forward and backward: twice the memory, not four times."""

    def planned(tokens: int) -> int:
        q, k, v = (jax.ShapeDtypeStruct((1, tokens, 2, 8), jnp.float32) for _ in range(3))
        compiled = jax.jit(jax.grad(lambda q, k, v: attention(q, k, v).sum(), (0, 1, 2))).lower(q, k, v).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    small, large = planned(8192), planned(16384)
    assert large < 2.5 * small
    assert large < 16384**2 * 4  # one head's logits alone
