"""The training losses (Eq. 2, 6–8) by hand, and what they may and may not teach."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamlayer_jax.attention.context_map import LayerMaps
from dreamlayer_jax.diffusion.losses import map_losses, noise_loss, noise_weight
from dreamlayer_jax.diffusion.schedule import add_noise, clean_and_noise, target
from dreamlayer_jax.layer_axis import LayerContext, roles

L, B = 4, 2
VALID = np.array([[True, True], [True, True], [True, False], [True, True]])


@pytest.fixture(scope="module")
def contexts() -> LayerContext:
    nothing = np.zeros((L, B, 1), bool)
    return LayerContext(role=roles(L), valid=VALID, prompt=np.zeros((L, B, 1, 1), np.float32), own=nothing, span=nothing)


@pytest.fixture(scope="module")
def maps() -> tuple[LayerMaps, np.ndarray]:
    """Maps and true alphas."""
    in_global, in_own, alpha = np.random.default_rng(0).random((3, L, B, 2, 3)).astype(np.float32)
    return LayerMaps(in_global=in_global, in_own=in_own), alpha


def test_noise_loss_by_hand() -> None:
    """Errors 1, 2 and 3 in the valid layers of one scene, 5 in a padded one; weights 1 and 2."""
    wanted = np.zeros((3, 2, 1, 1, 2), np.float32)
    prediction = np.broadcast_to(np.array([[1.0, 1], [2, 5], [3, 0]], np.float32)[..., None, None, None], wanted.shape)
    valid = np.array([[True, True], [True, False], [True, True]])
    loss = noise_loss(prediction, wanted, np.array([1.0, 2.0], np.float32), valid)
    assert float(loss) == pytest.approx((1 + 4 + 9 + 2 * 1 + 0) / 5)


@pytest.mark.parametrize("told", [[True, True], [True, False], [False, False]])
def test_eq_6_and_7_are_means_over_valid_foregrounds_of_told_scenes(told, maps, contexts) -> None:
    (found, alpha), context, layout = maps, [], []
    for layer, scene in [(1, 0), (1, 1), (2, 0)]:
        if told[scene]:
            context.append(np.mean((alpha - found.in_global)[layer, scene] ** 2))
            layout.append(np.mean((found.in_global - found.in_own)[layer, scene] ** 2))
    expected = (np.mean(context), np.mean(layout)) if context else (0, 0)
    np.testing.assert_allclose(map_losses(found, alpha, contexts, np.array(told)), expected, rtol=1e-5)


def test_the_layout_loss_teaches_the_layers_and_not_the_global_map(maps, contexts) -> None:
    found, alpha = maps
    context, layout = (
        jax.grad(lambda m, i=i: map_losses(m, alpha, contexts, np.ones(B, bool))[i])(jax.tree.map(jnp.asarray, found)) for i in (0, 1)
    )
    assert not layout.in_global.any()
    assert layout.in_own[1].any()
    assert context.in_global[1].any()
    assert not context.in_own.any()
    for gradient in (layout.in_own, context.in_global):
        assert not gradient[np.array([0, 3])].any()
        assert not gradient[2, 1].any()


@pytest.mark.parametrize("weighting", ["min_snr", "clipped_v"])
def test_a_weighting_means_the_same_for_every_prediction_type(weighting) -> None:
    """One wrong ẑ_0, said as ε, v and z_0: the weighted errors agree."""
    rng = np.random.default_rng(1)
    clean, noise, mistake = rng.normal(size=(3, 4, 5))
    alpha = np.array([0.99, 0.7, 0.3, 0.02])
    z = add_noise(alpha, clean, noise)
    wrong = clean + 0.1 * mistake
    _, implied = clean_and_noise("sample", alpha, z, wrong)
    errors = []
    for kind in ("sample", "epsilon", "v_prediction"):
        difference = np.asarray(target(kind, alpha, wrong, implied) - target(kind, alpha, clean, noise))
        errors.append(np.asarray(noise_weight(kind, weighting, jnp.asarray(alpha))) * (difference**2).mean(1))
    np.testing.assert_allclose(errors[1], errors[0], rtol=1e-3)
    np.testing.assert_allclose(errors[2], errors[0], rtol=1e-3)


def test_weights_by_hand() -> None:
    """SNR = 9, 1 and 1/9; γ = 5."""
    alpha = jnp.array([0.9, 0.5, 0.1])
    np.testing.assert_allclose(noise_weight("epsilon", "uniform", alpha), 1)
    np.testing.assert_allclose(noise_weight("epsilon", "min_snr", alpha), [5 / 9, 1, 1], rtol=1e-5)
    np.testing.assert_allclose(noise_weight("v_prediction", "min_snr", alpha), [0.5, 0.5, 0.1], rtol=1e-5)
    np.testing.assert_allclose(noise_weight("sample", "clipped_v", alpha), [5, 2, 10 / 9], rtol=1e-5)
