"""Context maps (paper §3.1, Eq. 3–5)."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamlayer_jax.attention.context_map import ContextAwareLayer, ContextMaps, map_of_words, min_max
from dreamlayer_jax.config import LayeredConfig
from dreamlayer_jax.layer_axis import LAYER, LayerContext, Role, roles
from dreamlayer_jax.models.transformer import Attention

B, H, W, C, T = 2, 3, 4, 6, 7


@pytest.fixture(scope="module")
def maps_and_features() -> tuple[np.ndarray, np.ndarray]:
    """Maps in [0, 1] that reach both ends, and features."""
    rng = np.random.default_rng(0)
    m = rng.random((B, H, W)).astype(np.float32)
    m[:, 0, 0], m[:, -1, -1] = 0, 1
    return m, rng.normal(size=(B, H, W, C)).astype(np.float32)


def test_an_untrained_context_aware_layer_is_the_identity(maps_and_features) -> None:
    m, features = maps_and_features
    module = ContextAwareLayer(width=8)
    params = jax.jit(module.init)(jax.random.key(0), m, features)
    np.testing.assert_array_equal(module.apply(params, m, features), m)


def test_a_trained_context_aware_layer_stays_between_0_and_1(maps_and_features, randomised) -> None:
    m, features = maps_and_features
    module = ContextAwareLayer(width=8)
    out = np.asarray(module.apply({"params": randomised(module, m, features)}, m, features))
    assert out.min() >= 0
    assert out.max() <= 1
    assert np.abs(out - m).max() > 0.1
    assert np.isin(out, (0, 1)).sum() > np.isin(m, (0, 1)).sum()  # it was clipped


def test_a_context_aware_layer_reads_the_features(maps_and_features, randomised) -> None:
    m, features = maps_and_features
    module = ContextAwareLayer(width=8)
    params = randomised(module, m, features)
    m = 0.25 + m / 2  # away from the clip's ends
    out = [np.asarray(module.apply({"params": params}, m, x)) for x in (features, features[:, ::-1])]
    assert np.abs(out[0] - out[1]).max() > 1e-3


def test_min_max_stretches_each_map_and_a_constant_map_becomes_0() -> None:
    m = jnp.array([[[2.0, 4.0], [3.0, 6.0]], [[5.0, 5.0], [5.0, 5.0]]])
    np.testing.assert_allclose(min_max(m), [[[0, 0.5], [0.25, 1]], [[0, 0], [0, 0]]])


def test_eq_4_by_hand() -> None:
    """Words 1 and 2 of four tokens receive 0.1 + 0.2, 0.3 + 0.3, 0.2 + 0.4 and 0.5 + 0.4."""
    weights = jnp.array([[0.6, 0.1, 0.2, 0.1], [0.3, 0.3, 0.3, 0.1], [0.3, 0.2, 0.4, 0.1], [0.1, 0.5, 0.4, 0.0]]).reshape(1, 2, 2, 4)
    m = map_of_words(weights, jnp.array([[False, True, True, False]]))
    np.testing.assert_allclose(m, [[[0, 0.5], [0.5, 1]]], atol=1e-6)


def test_eq_3_is_the_mean_over_heads_of_the_softmax(randomised) -> None:
    rng = np.random.default_rng(2)
    x, prompt = rng.normal(size=(B, 5, 4)).astype(np.float32), rng.normal(size=(B, T, 3)).astype(np.float32)
    module = Attention(heads=2)
    params = randomised(module, x, prompt)
    _, weights = module.apply({"params": params}, x, prompt, return_weights=True)
    q, k = x @ params["to_q"]["kernel"], prompt @ params["to_k"]["kernel"]
    expected = 0
    for head in (slice(0, 2), slice(2, 4)):
        scores = np.exp(np.einsum("btd,bsd->bts", q[..., head], k[..., head]).astype(np.float64) / np.sqrt(2))
        expected = expected + scores / scores.sum(-1, keepdims=True) / 2
    np.testing.assert_allclose(weights, expected, atol=1e-5)


@pytest.mark.parametrize("context_layers", [0, 1])
def test_maps_of_a_layer_batch(context_layers, maps_and_features, randomised) -> None:
    """M_G^f reads the global layer's attention at the layer's span, M_F^f the layer's own attention; a layer without words has no map."""
    rng = np.random.default_rng(3)
    layers = 4
    weights = rng.random((layers, B, H, W, T)).astype(np.float32)
    features = rng.normal(size=(layers, B, H, W, C)).astype(np.float32)
    own, span = np.zeros((2, layers, B, T), bool)
    own[:3, :, 1:3] = True
    for i in range(3):
        span[i, :, 1 + 2 * i : 3 + 2 * i] = True
    own[2, 1], span[2, 1] = False, False
    contexts = LayerContext(
        role=roles(layers), valid=np.ones((layers, B), bool), prompt=np.zeros((layers, B, T, C), np.float32), own=own, span=span
    )
    assert contexts.role[-1] == Role.GLOBAL
    config = dataclasses.replace(LayeredConfig(), context_layers=context_layers, context_width=8)
    alone = jax.tree.map(lambda x: x[0], (weights, features, contexts))
    params = randomised(ContextMaps(config), *alone) if context_layers else {}
    module = ContextMaps(config, LAYER)
    maps = jax.vmap(lambda *args: module.apply({"params": params}, *args), axis_name=LAYER[0])(weights, features, contexts)

    for layer in range(layers):
        of_global = map_of_words(weights[-1], span[layer])
        if context_layers:
            refine = ContextAwareLayer(8)
            of_global = refine.apply({"params": params["layers_0"]}, of_global, features[-1])
        of_global = jnp.where(span[layer].any(1)[:, None, None], of_global, 0)
        np.testing.assert_allclose(maps.in_global[layer], of_global, atol=1e-5)
        np.testing.assert_allclose(maps.in_own[layer], map_of_words(weights[layer], own[layer]), atol=1e-5)
    assert not maps.in_global[2, 1].any()
    assert not maps.in_global[-1].any()
    assert maps.in_global[:2].any((2, 3)).all()
