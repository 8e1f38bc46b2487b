"""Laws of the layered network (paper §2–3), on a model whose every parameter is drawn at random."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamlayer_jax.diffusion.losses import map_losses, noise_loss
from dreamlayer_jax.diffusion.predict import encode_layers, predict
from dreamlayer_jax.layer_axis import Role
from dreamlayer_jax.models.init import init_layer_assign
from dreamlayer_jax.models.unet import UNet2DCondition
from dreamlayer_jax.place import Place

# Without the optimisations: at these sizes compiling is nearly all of the time.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
GUIDED = np.array([900, 900], np.int32)  # t ≥ T_G: Eq. 9 acts


@pytest.fixture(scope="module")
def layered(config) -> Callable[..., Any]:
    """(unet parameters, latents, t, contexts) to the prediction with every part of DreamLayer on."""
    return jit(partial(predict, config))


@pytest.fixture(scope="module")
def plain(config) -> Callable[..., Any]:
    """(unet parameters, latents (n, …), t (n,), prompts (n, …)) to Stable Diffusion's prediction."""
    return jit(lambda params, z, t, prompt: UNet2DCondition(config.unet).apply({"params": params}, z, t, prompt).sample)


@pytest.fixture(scope="module")
def encode(config, params, empty_ids) -> Callable[..., Any]:
    """(ids, words, validity) to contexts."""
    return lambda ids, words, valid=None: encode_layers(config, params, ids, words, empty_ids, valid)


def foreground_kv_from_base(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters with every foreground K and V replaced by the base's, as where training starts."""
    branch = {name: foreground_kv_from_base(child) if isinstance(child, dict) else child for name, child in params.items()}
    return {name: branch[name.removesuffix("_foreground")] for name in branch}


def close(ours: Any, expected: Any) -> None:
    ours, expected = np.asarray(ours), np.asarray(expected)
    assert np.abs(ours - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())


def flat_plain(plain: Callable[..., Any], params: Any, z: np.ndarray, prompt: Any) -> np.ndarray:
    l, b = z.shape[:2]
    out = plain(params, z.reshape(l * b, *z.shape[2:]), np.tile(GUIDED, l), jnp.asarray(prompt).reshape(l * b, *prompt.shape[2:]))
    return np.asarray(out).reshape(z.shape)


def test_unlayered_it_is_stable_diffusion_on_every_layer(config, params, scene, encode, plain) -> None:
    ids, words, z = scene(3)
    contexts = encode(ids, words)
    separate = dataclasses.replace(config, layered=dataclasses.replace(config.layered, layer_shared=False, guided=False))
    each_layer = jit(partial(predict, separate))
    copied = foreground_kv_from_base(params["unet"])
    expected = flat_plain(plain, params["unet"], z, contexts.prompt)
    close(each_layer(copied, z, GUIDED, contexts).sample, expected)

    own_kv = np.asarray(each_layer(params["unet"], z, GUIDED, contexts).sample)
    foreground = np.asarray(contexts.role) == Role.FOREGROUND
    close(own_kv[~foreground], expected[~foreground])
    assert (np.abs(own_kv - expected)[foreground].max((1, 2, 3, 4)) > 1e-2).all()


def test_layers_do_hear_each_other(params, scene, encode, plain, layered) -> None:
    """What the laws above and below would not notice: with everything on, each layer's prediction is another."""
    ids, words, z = scene(3)
    contexts = encode(ids, words)
    together = np.asarray(layered(foreground_kv_from_base(params["unet"]), z, GUIDED, contexts).sample)
    alone = flat_plain(plain, params["unet"], z, contexts.prompt)
    assert (np.abs(together - alone).max((1, 2, 3, 4)) > 1e-2).all()
    late = np.asarray(layered(params["unet"], z, np.array([849, 849]), contexts).sample)
    guided = np.asarray(layered(params["unet"], z, np.array([850, 850]), contexts).sample)
    assert (np.abs(guided - late)[1:3].max((1, 2, 3, 4)) > 1e-2).all()  # one step of t moves little; Eq. 9 moves foregrounds much


def test_one_layer_makes_layer_shared_attention_plain(config, params, scene, encode, plain) -> None:
    ids, words, z = scene(3)
    contexts = encode(ids, words)
    alone = UNet2DCondition(config.unet, config.layered)
    one_layer = jit(lambda params, z, layer: alone.apply({"params": params}, z, GUIDED, layer.prompt, layer).sample)
    expected = flat_plain(plain, params["unet"], z, contexts.prompt)
    for i in (0, 3):
        close(one_layer(params["unet"], z[i], jax.tree.map(lambda x, i=i: x[i], contexts)), expected[i])


def test_invalid_layers_change_nothing(config, params, scene, encode, layered) -> None:
    """Two foregrounds, against two foregrounds and a padded slot full of numbers between them and the global layer."""
    ids, words, z = scene(4)
    real = np.array([0, 1, 2, 4])
    contexts = encode(ids[:3], words[:3])
    short = layered(params["unet"], z[real], GUIDED, contexts)
    alpha = np.random.default_rng(5).random((5, 2, 4, 4)).astype(np.float32)
    wanted = np.random.default_rng(6).normal(size=z.shape).astype(np.float32)
    told, weight = np.ones(2, bool), np.array([1.0, 2.0], np.float32)

    valid = np.array([[True, True]] * 3 + [[False, False]])
    padded_contexts = encode(ids, words, valid)
    padded = layered(params["unet"], z, GUIDED, padded_contexts)
    jax.tree.map(lambda long, expected: close(np.asarray(long)[real], expected), padded, short)
    close(
        noise_loss(padded.sample, wanted, weight, padded_contexts.valid),
        noise_loss(short.sample, wanted[real], weight, np.ones((4, 2), bool)),
    )
    close(map_losses(padded.maps, alpha, padded_contexts, told), map_losses(short.maps, alpha[real], contexts, told))

    valid[3, 1] = True  # scenes of three and of four layers in one batch
    mixed = layered(params["unet"], z, GUIDED, encode(ids, words, valid))
    close(np.asarray(mixed.sample)[real, 0], np.asarray(short.sample)[:, 0])
    assert np.abs(np.asarray(mixed.sample)[real, 1] - np.asarray(short.sample)[:, 1]).max() > 1e-2


def test_permuting_the_foregrounds_permutes_the_outputs(params, scene, encode, layered) -> None:
    """Foregrounds with equal layer-assign embeddings (the fixture's): the global prompt's words change places, and nothing else does."""
    ids, words, z = scene(4)
    order = np.array([0, 2, 3, 1, 4])
    out = layered(params["unet"], z, GUIDED, encode(ids, words))
    permuted = layered(params["unet"], z[order], GUIDED, encode(ids[order[:4]], words[order[:4]]))
    jax.tree.map(lambda ours, expected: close(ours, np.asarray(expected)[order]), permuted, out)
    assert np.abs(np.asarray(permuted.sample) - np.asarray(out.sample))[1:4].max() > 1e-2


@pytest.mark.parametrize("context_map", [True, False])
def test_in_half_precision_the_layered_prediction_stays_near_single(config, params, scene, encode, context_map) -> None:
    """Of every layer, with all layers noisy and with a foreground given (clean, at t = 0); the maps too."""
    ids, words, z = scene(3)
    contexts = encode(ids, words)
    config = dataclasses.replace(config, layered=dataclasses.replace(config.layered, context_map=context_map, guided=context_map))
    single, half = (jit(partial(predict, config, place=Place(dtype=dtype))) for dtype in (jnp.float32, jnp.bfloat16))
    for t in ([[900, 900]] * 4, [[900, 900], [0, 0], [900, 900], [900, 900]]):
        exact, rounded = (run(params["unet"], z, np.array(t, np.int32), contexts) for run in (single, half))
        for found, expected in zip(jax.tree.leaves(rounded), jax.tree.leaves(exact), strict=True):
            off = [float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b)) for a, b in zip(found, expected, strict=True)]
            assert max(off) <= 2e-2, off


def test_layer_assign_starts_at_zero_and_tells_layers_apart_once_trained(config, params, scene, empty_ids) -> None:
    ids, words, _ = scene(3)
    ids, words = np.broadcast_to(ids[:1], ids.shape), np.broadcast_to(words[:1], words.shape)
    fresh = encode_layers(config, {**params, "layer_assign": init_layer_assign(config)}, ids, words, empty_ids)
    np.testing.assert_array_equal(fresh.prompt[0], fresh.prompt[1])
    trained = encode_layers(config, params, ids, words, empty_ids)
    np.testing.assert_allclose(
        trained.prompt[:3] - fresh.prompt[:3],
        np.broadcast_to(params["layer_assign"]["embedding"][:3, None, None], fresh.prompt[:3].shape),
        atol=1e-5,
    )


def test_a_longer_global_prompt_changes_the_global_layer_only(config, params, scene, empty_ids) -> None:
    """Without layer-shared attention, which would carry the change on."""
    ids, words, z = scene(2)
    apart = dataclasses.replace(config.layered, layer_shared=False, guided=False)
    found = []
    for windows in (1, 2):
        longer = dataclasses.replace(config, layered=dataclasses.replace(apart, prompt_windows=windows))
        layers = encode_layers(longer, params, ids, words, empty_ids)
        found.append(np.asarray(jit(partial(predict, longer))(params["unet"], z, np.full(2, 500), layers).sample))
    np.testing.assert_allclose(found[1][:-1], found[0][:-1], atol=1e-5)
    assert np.abs(found[1][-1] - found[0][-1]).max() > 1e-3
