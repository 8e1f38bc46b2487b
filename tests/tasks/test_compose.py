"""Layers from LayerDiffusion's files, on random files of a small model: what is made for what, and what stays as it was given."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from dreamlayer_jax import DreamLayer
from dreamlayer_jax.config import LayerDecoderConfig
from dreamlayer_jax.editing.edits import Replace
from dreamlayer_jax.editing.placement import CUT
from dreamlayer_jax.models.init import param_shapes
from dreamlayer_jax.request import RequestError
from dreamlayer_jax.tasks.arrange import THERE

SIZE = 16
QUICK = {"steps": 2, "guidance": 2.0}


@pytest.fixture(scope="module")
def loaded(plain_model, layer_attention_file, tmp_path_factory) -> Callable[[str], DreamLayer]:
    """The small Stable Diffusion model with a random file of a kind, and a small random layer decoder."""
    folder, models = tmp_path_factory.mktemp("files"), {}

    def load(kind: str) -> DreamLayer:
        if kind not in models:
            save_file(layer_attention_file(plain_model.config.unet, kind), folder / f"layer_sd15_{kind}.safetensors")
            model = DreamLayer.from_pretrained(plain_model.folder, layer_attention=folder / f"layer_sd15_{kind}.safetensors")
            decoder = LayerDecoderConfig(block_out_channels=(8, 8, 8, 8), attention=(False,) * 4, layers_per_block=1, norm_num_groups=2)
            config = dataclasses.replace(model.config, layer_decoder=decoder)
            rng = np.random.default_rng(3)
            drawn = jax.tree.map(
                lambda leaf: rng.normal(size=leaf.shape).astype(np.float32) / np.sqrt(np.prod(leaf.shape[:-1])),
                param_shapes(config, ("layer_decoder",)),
            )
            models[kind] = dataclasses.replace(model, config=config, params=model.params | drawn)
        return models[kind]

    return load


def cut_out(value: int) -> np.ndarray:
    """A grey square, a quarter of the canvas."""
    rgba = np.zeros((SIZE, SIZE, 4), np.uint8)
    rgba[4:12, 4:12] = value, value, value, 255
    return rgba


def opaque(value: int) -> np.ndarray:
    return np.concatenate([np.full((SIZE, SIZE, 3), value, np.uint8), np.full((SIZE, SIZE, 1), 255, np.uint8)], axis=-1)


def test_a_chain_makes_each_layer_for_those_behind_it(loaded) -> None:
    model = loaded("bg2fg")
    scene = model.generate(background="a beach", foregrounds=["a dog", "a red dog"], seed=3, **QUICK)
    other = model.generate(background="a beach", foregrounds=["a dog", "sandy"], seed=3, harmonize=False, **QUICK)
    for layer in range(2):  # what comes nearer changes nothing behind it
        np.testing.assert_array_equal(scene.layers[layer].rgba_straight, other.layers[layer].rgba_straight)
    assert differ(scene.kept.clean[2], other.kept.clean[2])
    assert scene.kept.clean.shape == (4, 2, 2, 4)
    assert scene.context_maps.shape == (2, 2, 2)
    assert scene.composite_rgb is not None
    assert scene.settings["compose"] == "chain"


def test_a_chain_sees_what_it_was_given(loaded) -> None:
    model = loaded("bg2fg")
    prompts = {"background": "a beach", "foregrounds": ["a dog", "a red dog"], "seed": 3}
    dark, light = (model.generate(**prompts, given={0: opaque(90), 1: cut_out(value)}, harmonize=False, **QUICK) for value in (20, 220))
    np.testing.assert_array_equal(dark.background.rgba_straight, opaque(90))
    np.testing.assert_array_equal(dark.layers[1].rgba_straight, cut_out(20))
    assert differ(dark.kept.clean[2], light.kept.clean[2])  # the same noise and words for another picture
    replaced = model.edit(light, [Replace(1, "sandy")])
    assert differ(replaced.kept.clean[1], light.kept.clean[1])
    np.testing.assert_array_equal(replaced.layers[2].rgba_straight, light.layers[2].rgba_straight)


def test_a_background_for_a_given_cut_out(loaded) -> None:
    model = loaded("fg2bg")
    prompts = {"background": "a beach", "foregrounds": ["a dog"], "seed": 3, "harmonize": False}
    made = [model.generate(**prompts, given={1: cut_out(value)}, **QUICK) for value in (20, 220)]
    np.testing.assert_array_equal(made[0].layers[1].rgba_straight, cut_out(20))
    assert differ(made[0].kept.clean[0], made[1].kept.clean[0])
    assert (made[0].background.rgba_straight[..., 3] == 255).all()
    remade = model.edit(made[0], [Replace(0, "sandy")])
    assert differ(remade.kept.clean[0], made[0].kept.clean[0])
    np.testing.assert_array_equal(remade.layers[1].rgba_straight, cut_out(20))
    with pytest.raises(RequestError, match="fg2bg makes a background for given foregrounds, but layer 1, a foreground, is not given"):
        model.generate(**prompts, **QUICK)


def test_joint_makes_one_foreground(loaded) -> None:
    with pytest.raises(RequestError, match="2 foregrounds were given; the model 'model' makes at most 1"):
        loaded("joint").generate(background="a beach", foregrounds=["a dog", "a dog"], **QUICK)


def test_independent_foregrounds_go_where_the_whole_picture_has_them(loaded) -> None:
    made = loaded("transparent_attn").generate(background="a beach", foregrounds=["a dog"], seed=3, harmonize=False, **QUICK)
    assert made.settings["compose"] == "independent"
    shown = made.layers[1].rgba_straight[..., 3] >= CUT
    there = np.repeat(np.repeat(made.context_maps[0] > THERE, SIZE // 2, axis=0), SIZE // 2, axis=1)
    rows, columns = (np.flatnonzero(there.any(axis=axis)) for axis in (1, 0))
    box = np.zeros_like(shown)
    box[max(0, rows[0] - 1) : rows[-1] + 2, max(0, columns[0] - 1) : columns[-1] + 2] = True  # resampling reaches a pixel farther
    assert shown.any()
    assert not (shown & ~box).any()


def differ(one: np.ndarray, other: np.ndarray) -> bool:
    """A random network hears of a picture faintly, and of nothing not at all: the runs are the same programs."""
    return np.abs(one - other).max() > 1e-5
