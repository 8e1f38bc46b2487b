"""Muon: the law of its update, and optax's implementation as outside reference."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from train.muon import orthogonalize, scale_by_muon
from train.optimizer import OptimizerConfig, labels, make_optimizer, schedule


@pytest.mark.parametrize("shape", [(40, 12), (12, 40), (16, 16)])
def test_singular_values_end_near_one(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    values = np.linalg.svd(orthogonalize(x), compute_uv=False)
    assert values.min() > 0.4
    assert values.max() < 1.6


def test_singular_vectors_stay() -> None:
    x = np.random.default_rng(1).normal(size=(20, 6)).astype(np.float32)
    u, _, v = np.linalg.svd(x, full_matrices=False)
    turned = u.T @ np.asarray(orthogonalize(x)) @ v.T
    np.testing.assert_allclose(turned, np.diag(np.diag(turned)), atol=1e-5)


def test_ill_conditioned_matrices_stay_bounded() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(64, 24)) * np.logspace(0, -9, 24)
    assert np.linalg.norm(orthogonalize(jnp.asarray(x, jnp.float32)), 2) < 1.6


def test_updates_equal_those_of_optax() -> None:
    """Reference: optax.contrib.muon 0.2.8, Newton-Schulz on the whole matrix."""
    rng = np.random.default_rng(3)
    params = {"a": {"kernel": rng.normal(size=(10, 4))}, "b": {"kernel": rng.normal(size=(3, 3, 2, 24))}, "c": {"bias": rng.normal(size=5)}}
    params = jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), params)

    def dimensions(tree: dict) -> dict:
        flat = optax.contrib.MuonDimensionNumbers((0, 1, 2), 3)
        return {"a": {"kernel": optax.contrib.MuonDimensionNumbers(0, 1)}, "b": {"kernel": flat}, "c": {"bias": None}}

    config = OptimizerConfig(learning_rate=0.1, adam_learning_rate=0.01, schedule="constant", warmup_steps=0, clip_norm=1e9)
    ours = make_optimizer(config, 10)
    theirs = optax.contrib.muon(0.1, adam_learning_rate=0.01, adam_b2=0.99, muon_weight_dimension_numbers=dimensions)
    theirs_state, ours_state = theirs.init(params), ours.init(params)
    for _ in range(3):
        grads = jax.tree.map(lambda value: jnp.asarray(rng.normal(size=value.shape), jnp.float32), params)
        expected, theirs_state = theirs.update(grads, theirs_state, params)
        found, ours_state = ours.update(grads, ours_state, params)
        for name in ("a", "b"):
            np.testing.assert_allclose(found[name]["kernel"], expected[name]["kernel"], atol=2e-6)


def test_only_kernels_are_matrices() -> None:
    conv = {"kernel": jnp.zeros((3, 3, 2, 2)), "bias": jnp.zeros(2)}
    tree = {"conv": conv, "words": {"embedding": jnp.zeros((5, 2))}, "slots": jnp.zeros((4, 2))}
    expected = {"conv": {"kernel": "muon", "bias": "adam"}, "words": {"embedding": "adam"}, "slots": "adam"}
    assert labels(tree) == expected


def test_schedules_warm_up_and_end() -> None:
    cosine = schedule(OptimizerConfig(warmup_steps=10, final_fraction=0.1), 2.0, 100)
    constant = schedule(OptimizerConfig(warmup_steps=10, schedule="constant"), 2.0, 100)
    np.testing.assert_allclose([cosine(0), cosine(5), cosine(10), cosine(100)], [0, 1, 2, 0.2], atol=1e-6)
    np.testing.assert_allclose([constant(0), constant(5), constant(10), constant(100)], [0, 1, 2, 2], atol=1e-6)


def test_momentum_turns_the_update() -> None:
    rule = scale_by_muon()
    params = {"kernel": jnp.zeros((4, 3))}
    state = rule.init(params)
    grads = [{"kernel": jax.random.normal(jax.random.key(n), (4, 3))} for n in range(2)]
    _, state = rule.update(grads[0], state)
    after_both, _ = rule.update(grads[1], state)
    alone, _ = rule.update(grads[1], rule.init(params))
    assert not np.allclose(after_both["kernel"], alone["kernel"], atol=1e-3)
