"""Layer-shared self-attention (paper §3.2, Eq. 9–11)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamlayer_jax.attention.core import attention
from dreamlayer_jax.attention.layer_shared import guide_by_global, layer_shared_attention, limited_attention, most_of, one_way_attention
from dreamlayer_jax.layer_axis import LAYER, LayerContext, roles

T_G = 850
LAYERS, B = 4, 2


def contexts(valid: np.ndarray | None) -> LayerContext:
    nothing = np.zeros((LAYERS, B, 1), bool)
    return LayerContext(role=roles(LAYERS), valid=valid, prompt=np.zeros((LAYERS, B, 1, 1), np.float32), own=nothing, span=nothing)


def guide(z: np.ndarray, m: np.ndarray, t: list[int], valid: np.ndarray) -> np.ndarray:
    def one(z, m, layer):
        return guide_by_global(z, m, jnp.array(t), T_G, layer, LAYER)

    return np.asarray(jax.vmap(one, axis_name=LAYER[0])(z, m, contexts(valid)))


def test_eq_9_by_hand() -> None:
    """Layers hold 0, 1, 2 and (global) 10 everywhere; maps of ¼ and ½ mix in a quarter and a half of the global."""
    z = np.broadcast_to(np.array([0.0, 1.0, 2.0, 10.0], np.float32)[:, None, None, None, None], (LAYERS, B, 2, 2, 3))
    m = np.broadcast_to(np.array([0.5, 0.25, 0.5, 0.5], np.float32)[:, None, None, None], (LAYERS, B, 1, 1))
    out = guide(z, m, [T_G, T_G - 1], np.ones((LAYERS, B), bool))
    assert (out[:, 0] == out[:, 0, :1, :1, :1]).all()
    np.testing.assert_allclose(out[:, 0, 0, 0, 0], [0, 3.25, 6, 10])
    np.testing.assert_array_equal(out[:, 1], z[:, 1])


@pytest.mark.parametrize(("t", "acts"), [(999, True), (T_G, True), (T_G - 1, False), (0, False)])
def test_eq_9_acts_from_t_g_up_and_on_valid_foregrounds_only(t, acts) -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(LAYERS, B, 3, 2, 5)).astype(np.float32)
    m = rng.random((LAYERS, B, 3, 2)).astype(np.float32)
    valid = np.array([[True, True], [True, True], [True, False], [True, True]])
    out = guide(z, m, [t, t], valid)
    expected = z.copy()
    for layer, scene in [(1, 0), (1, 1), (2, 0)] if acts else []:
        weight = m[layer, scene, ..., None]
        expected[layer, scene] = z[-1, scene] * weight + z[layer, scene] * (1 - weight)
    np.testing.assert_allclose(out, expected, atol=1e-6)


def test_eq_9_resizes_the_map_to_the_block() -> None:
    z = np.zeros((LAYERS, B, 4, 4, 1), np.float32)
    z[-1] = 1
    m = np.broadcast_to(np.array([[0.0, 1.0], [0.0, 1.0]], np.float32), (LAYERS, B, 2, 2))
    out = guide(z, m, [999, 999], np.ones((LAYERS, B), bool))
    np.testing.assert_allclose(out[1, 0, :, :, 0], np.broadcast_to([0, 0.25, 0.75, 1], (4, 4)), atol=1e-6)


def test_eq_10_11_is_the_softmax_over_the_keys_of_all_valid_layers() -> None:
    rng = np.random.default_rng(1)
    q, k, v = rng.normal(size=(3, LAYERS, B, 3, 2, 4)).astype(np.float32)
    valid = np.array([[True, True], [True, True], [True, False], [True, True]])
    out = jax.vmap(lambda *layer: layer_shared_attention(*layer, LAYER), axis_name=LAYER[0])(q, k, v, contexts(valid))
    for layer, scene, head in np.ndindex(LAYERS, B, 2):
        keys = np.concatenate([k[i, scene, :, head] for i in range(LAYERS) if valid[i, scene]]).astype(np.float64)
        values = np.concatenate([v[i, scene, :, head] for i in range(LAYERS) if valid[i, scene]])
        weights = np.exp(q[layer, scene, :, head] @ keys.T / np.sqrt(4))
        expected = weights @ values / weights.sum(-1, keepdims=True)
        np.testing.assert_allclose(out[layer, scene, :, head], expected, atol=1e-5)


@pytest.mark.parametrize("padded", [False, True])
def test_limited_keys_are_the_softmax_over_what_is_left_of_all_keys(padded: bool) -> None:
    """All of background and global, and of each foreground two tokens: those where its map is highest."""
    rng = np.random.default_rng(4)
    q, k, v = rng.normal(size=(3, LAYERS, B, 4, 2, 4)).astype(np.float32)
    maps = rng.permuted(np.linspace(0, 1, LAYERS * B * 4)).reshape(LAYERS, B, 2, 2).astype(np.float32)
    valid = np.array([[True, True], [True, True], [True, False], [True, True]]) if padded else None

    def one(q, k, v, m, layer):
        return limited_attention(q, k, v, most_of(m, (2, 2), 0.5), layer, LAYER)

    out = jax.vmap(one, axis_name=LAYER[0])(q, k, v, maps, contexts(valid))
    highest = np.argsort(maps.reshape(LAYERS, B, 4), axis=-1)[..., 2:]
    for layer, scene, head in np.ndindex(LAYERS, B, 2):
        seen = {0: [0, 1, 2, 3], 1: highest[1, scene], 2: highest[2, scene], 3: [0, 1, 2, 3]}
        seen = {i: tokens for i, tokens in seen.items() if valid is None or valid[i, scene]}
        keys, values = (np.concatenate([x[i, scene, tokens, head] for i, tokens in seen.items()]) for x in (k, v))
        weights = np.exp(q[layer, scene, :, head] @ keys.T.astype(np.float64) / np.sqrt(4))
        np.testing.assert_allclose(out[layer, scene, :, head], weights @ values / weights.sum(-1, keepdims=True), atol=1e-5)


def test_one_layer_makes_it_plain_attention() -> None:
    """A layer axis of one layer, and no axis at all, against the softmax in float64."""
    q, k, v = np.random.default_rng(2).normal(size=(3, B, 5, 2, 4)).astype(np.float32)
    weights = np.exp(np.einsum("btnd,bsnd->bnts", q, k).astype(np.float64) / np.sqrt(4))
    expected = np.einsum("bnts,bsnd->btnd", weights / weights.sum(-1, keepdims=True), v)
    alone = jax.tree.map(lambda x: x[:1], contexts(None))
    mapped = jax.vmap(lambda *layer: layer_shared_attention(*layer, LAYER), axis_name=LAYER[0])
    np.testing.assert_allclose(mapped(q[None], k[None], v[None], alone)[0], expected, atol=1e-5)
    np.testing.assert_allclose(layer_shared_attention(q, k, v, jax.tree.map(lambda x: x[0], alone), ()), expected, atol=1e-5)


def test_eq_14_16_every_layer_sees_the_global_layers_keys_alone() -> None:
    q, k, v = np.random.default_rng(3).normal(size=(3, LAYERS, B, 5, 2, 4)).astype(np.float32)
    layer = contexts(None).replace(keys="global")
    out = jax.vmap(lambda *layer: layer_shared_attention(*layer, LAYER), axis_name=LAYER[0])(q, k, v, layer)
    np.testing.assert_allclose(out, jax.vmap(lambda q: attention(q, k[-1], v[-1]))(q), atol=1e-6)


def test_one_way_the_global_layer_sees_all_and_the_others_themselves() -> None:
    rng = np.random.default_rng(2)
    q, k, v = rng.normal(size=(3, LAYERS, B, 3, 2, 4)).astype(np.float32)
    told = contexts(np.array([[True, True], [True, True], [True, False], [True, True]]))
    one_way, every_way = (
        np.asarray(jax.vmap(lambda *layer, f=f: f(*layer, LAYER), axis_name=LAYER[0])(q, k, v, told))
        for f in (one_way_attention, layer_shared_attention)
    )
    np.testing.assert_allclose(one_way[-1], every_way[-1], atol=1e-6)
    for layer in range(LAYERS - 1):
        np.testing.assert_allclose(one_way[layer], attention(q[layer], k[layer], v[layer]), atol=1e-6)
