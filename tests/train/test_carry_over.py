"""Going on with another autoencoder: the diffusion model predicts the same pictures, written in the new latents."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transformers import CLIPTokenizer

from dreamlayer_jax.diffusion.predict import encode_layers, predict
from dreamlayer_jax.model import Model
from dreamlayer_jax.models.init import init_params
from dreamlayer_jax.prompts import tokenize
from tests.train.conftest import tiny_model
from train.carry_over import NETWORKS, carry_over
from train.tokenizer import build_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> CLIPTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer(["a desert", "a red circle"], folder, max_length=32, vocab_limit=1024)
    return CLIPTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def model(tokenizer: CLIPTokenizer) -> Model:
    config = tiny_model()
    params = jax.jit(lambda rng: init_params(config, rng, networks=(*NETWORKS, "vae")))(jax.random.key(0))
    bias = jnp.asarray(np.random.default_rng(0).normal(size=config.unet.out_channels), jnp.float32)
    params["unet"]["conv_out"]["bias"] = bias  # zero at first, and then no test of anything
    return Model(config=config, params=params, tokenizer=tokenizer)


PICTURES = np.random.default_rng(1).integers(0, 256, (64, 16, 16, 3), dtype=np.uint8)


def test_latents_that_are_a_linear_map_of_the_old_ones_get_the_same_predictions(model: Model) -> None:
    config, turn = model.config, np.random.default_rng(2).normal(size=(4, 4)).astype(np.float32)
    quant = model.params["vae"]["quant_conv"]
    mean, logvar = (jnp.split(quant[name], 2, axis=-1) for name in ("kernel", "bias"))
    vae = model.params["vae"] | {
        "quant_conv": {
            "kernel": jnp.concatenate([mean[0] @ turn, mean[1]], axis=-1),
            "bias": jnp.concatenate([logvar[0] @ turn, logvar[1]]),
        }
    }
    scaled = dataclasses.replace(config, vae=dataclasses.replace(config.vae, scaling_factor=3.0))
    carried = carry_over(model, scaled, vae, model.tokenizer, PICTURES)

    tokens = tokenize(model.tokenizer, [["a desert"], ["a red circle"]], config.text.max_position_embeddings)
    empty = tokenize(model.tokenizer, [[""]], config.text.max_position_embeddings).ids[0, 0]
    old = jax.random.normal(jax.random.key(3), (3, 1, 2, 2, 4))
    t = jnp.full((3, 1), 500)

    def predicted(params: dict, z: jax.Array) -> jax.Array:
        return predict(config, params["unet"], z, t, encode_layers(config, params, tokens.ids, tokens.words, empty)).sample

    np.testing.assert_allclose(predicted(carried, 3 * old @ turn), 3 * predicted(model.params, old) @ turn, rtol=1e-3, atol=1e-3)
    for name in ("text_encoder", "layer_assign"):
        jax.tree.map(np.testing.assert_array_equal, carried[name], model.params[name])


def test_another_grid_or_vocabulary_is_refused(model: Model, tokenizer: CLIPTokenizer, tmp_path: Path) -> None:
    coarse = dataclasses.replace(model.config, vae=dataclasses.replace(model.config.vae, patch_size=8))
    vae = jax.jit(lambda rng: init_params(coarse, rng, networks=("vae",)))(jax.random.key(0))["vae"]
    with pytest.raises(ValueError, match=r"grid of \(2, 2\), the new ones on \(1, 1\)"):
        carry_over(model, coarse, vae, tokenizer, PICTURES)
    tokenizer.save_pretrained(tmp_path)
    other = CLIPTokenizer.from_pretrained(tmp_path)
    other.add_tokens(["dreamlayer"])
    with pytest.raises(ValueError, match="another vocabulary"):
        carry_over(model, model.config, model.params["vae"], other, PICTURES)
