"""A loaded Stable Diffusion model as a layered one: with LSSA and Eq. 9 off, every layer is Stable Diffusion on its own prompt."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import numpy as np

from dreamlayer_jax import DreamLayer
from dreamlayer_jax.diffusion.predict import encode_layers, predict
from dreamlayer_jax.models.unet import UNet2DCondition
from dreamlayer_jax.prompts import tokenize

# Without the optimisations: at these sizes compiling is nearly all of the time.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def test_every_layer_is_stable_diffusion_on_its_own_prompt(plain_model) -> None:
    model = DreamLayer.from_pretrained(plain_model.folder)
    tokens = tokenize(model.tokenizer, [["a sandy beach"], ["a red dog"], ["a dog"]], 16)
    empty = tokenize(model.tokenizer, [[""]], 16).ids[0, 0]
    separate = dataclasses.replace(model.config.layered, layer_shared=False, guided=False)
    config = dataclasses.replace(model.config, layered=separate)
    z, t = np.random.default_rng(0).standard_normal((4, 1, 2, 4, 4), np.float32), np.array([900], np.int32)

    @jit
    def layered(params):
        contexts = encode_layers(config, params, tokens.ids, tokens.words, empty)
        return predict(config, params["unet"], z, t, contexts).sample, contexts

    ours, contexts = layered(model.params)
    prompts = np.asarray(contexts.prompt)[:, 0]
    plain = jit(lambda params, z, prompt: UNet2DCondition(config.unet).apply({"params": params}, z, np.repeat(t, 4), prompt).sample)
    expected = np.asarray(plain(plain_model.params["unet"], z[:, 0], prompts))
    assert np.abs(np.asarray(ours)[:, 0] - expected).max() <= 1e-5 * np.sqrt(np.mean(expected**2))
    assert len({prompt.tobytes() for prompt in prompts}) == 4  # each layer has a prompt of its own


def test_layer_assign_is_zero_and_context_aware_layers_end_in_zero(plain_model) -> None:
    params = DreamLayer.from_pretrained(plain_model.folder).params
    assert not params["layer_assign"]["embedding"].any()
    layers = params["unet"]["context_maps"]
    assert len(layers) == 2
    assert not any(layer["ffn_out"]["kernel"].any() or layer["ffn_out"]["bias"].any() for layer in layers.values())


def test_foreground_copies_have_memory_of_their_own(plain_model) -> None:
    """Training donates every buffer once."""
    params = DreamLayer.from_pretrained(plain_model.folder).params
    pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(params)]
    assert len(set(pointers)) == len(pointers)
