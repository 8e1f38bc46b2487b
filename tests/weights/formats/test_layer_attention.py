"""LayerDiffusion's attention files: read strictly, laid over a Stable Diffusion model, and the model as a folder again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

from dreamlayer_jax import DreamLayer
from dreamlayer_jax.models.layered import is_added, select
from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.formats.layer_attention import add_layer_attention, open_layer_attention

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path, plain_model, layer_attention_file) -> Write:
    """A random file of a kind for the small model, with what `change` makes of it."""

    def write(kind: str, name: str | None = None, change: Callable[[dict], Any] = lambda tensors: None, **options: Any) -> Path:
        tensors = layer_attention_file(plain_model.config.unet, kind, **options)
        change(tensors)
        file = tmp_path / (name or f"layer_sd15_{kind}.safetensors")
        save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, file)
        return file

    return write


@pytest.mark.parametrize("kind", ["transparent_attn", "bg2fg"])
def test_a_model_with_it_survives_its_folder_and_leaves_the_base_alone(kind, write, plain_model, tmp_path) -> None:
    file = write(kind, dtype=np.float16, rank=5)
    model = DreamLayer.from_pretrained(plain_model.folder, layer_attention=file)
    assert model.config.layered.layer_attention.kind == kind
    model.save_pretrained(tmp_path / "saved")
    again = DreamLayer.from_pretrained(tmp_path / "saved")
    assert again.config == model.config
    jax.tree.map(np.testing.assert_array_equal, again.params, model.params)
    model.export_diffusers(tmp_path / "exported")
    base = DreamLayer.from_pretrained(tmp_path / "exported").params
    jax.tree.map(np.testing.assert_array_equal, select(base, lambda path: not is_added(path)), plain_model.params)
    with pytest.raises(WeightsError, match=r"has layers of its own already .*\.kernel is not the base's"):
        add_layer_attention(again.config, again.params, file)


def test_kernels_are_the_bases_and_the_files(write, plain_model, layer_attention_file) -> None:
    tensors = layer_attention_file(plain_model.config.unet, "joint")
    params = flatten_dict(DreamLayer.from_pretrained(plain_model.folder, layer_attention=write("joint")).params)
    mid, n = ("unet", "mid_block", "attentions_0", "transformer_blocks_0", "attn2"), 7
    for f, frame in enumerate(("foreground", "background", "global")):
        for ours, name in (("to_q", "to_q"), ("to_k", "to_k"), ("to_v", "to_v"), ("to_out_0", "to_out")):
            down, up = (tensors[f"hookers.layers.{n}.{name}_lora.{f}.{part}.weight"] for part in ("down", "up"))
            expected = np.asarray(params[*mid, ours, "kernel"]) + (up @ down).T
            np.testing.assert_allclose(params[*mid, f"{ours}_{frame}", "kernel"], expected, atol=1e-6)


def test_which_it_is_is_told_or_asked_for(write, plain_model) -> None:
    unet = plain_model.config.unet
    unnamed = write("bg2fg", name="mine.safetensors")
    with pytest.raises(WeightsError, match=r"has 2 frames and a control picture.*on the command line mine.safetensors:fg2bg"):
        open_layer_attention(unnamed, unet)
    assert open_layer_attention(unnamed, unet, "fg2bg").config.kind == "fg2bg"
    assert open_layer_attention(write("bg2fg"), unet, "fg2bg").config.kind == "fg2bg"  # the user knows better than the name
    with pytest.raises(WeightsError, match=r"that is transparent_attn, not joint"):
        open_layer_attention(write("transparent_attn"), unet, "joint")


def drop(key: str) -> Callable[[dict], Any]:
    return lambda tensors: tensors.pop(key)


def rename(key: str) -> Callable[[dict], Any]:
    return lambda tensors: tensors.update({f"{key}x": tensors.pop(key)})


def transpose(key: str) -> Callable[[dict], Any]:
    return lambda tensors: tensors.update({key: tensors[key].swapaxes(0, 1)})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (drop("hookers.layers.0.to_q_lora.0.down.weight"), r"missing \(1\):\n  hookers.layers.0.to_q_lora.0.down.weight$"),
        (drop("hookers.layers.7.temporal_n.bias"), r"missing \(1\):\n  hookers.layers.7.temporal_n.bias$"),
        (drop("kwargs_encoder.blocks_1.2.bias"), r"missing \(1\):\n  kwargs_encoder.blocks_1.2.bias$"),
        (drop("hookers.layers.3.control_convs.1.2.weight"), r"missing \(1\):\n  hookers.layers.3.control_convs.1.2.weight$"),
        (rename("hookers.layers.2.temporal_o.bias"), r"missing \(1\):\n  \S+temporal_o.bias\nnot used \(1\):\n  \S+temporal_o.biasx$"),
        (lambda tensors: tensors.update(more=np.ones(2, np.float32)), r"not used \(1\):\n  more$"),
        (
            transpose("hookers.layers.1.to_k_lora.1.down.weight"),
            r"another shape \(1\):\n  hookers.layers.1.to_k_lora.1.down.weight: the file has \(12, 3\), the model needs \(3, 12\)$",
        ),
        (transpose("kwargs_encoder.blocks_0.4.weight"), r"blocks_0.4.weight: the file has \(4, 6, 3, 3\), the model needs"),
    ],
)
def test_what_does_not_fit_is_named(write, plain_model, change, said) -> None:
    with pytest.raises(WeightsError, match=said):
        open_layer_attention(write("bg2fg", change=change), plain_model.config.unet)


def test_another_base_is_said_by_the_shapes(write, plain_model) -> None:
    wider = dataclasses.replace(plain_model.config.unet, block_out_channels=(16, 20))
    with pytest.raises(WeightsError, match=r"made for another base: .*: the file has \(3, 12\), the model needs \(3, 16\), and 197 more$"):
        open_layer_attention(write("joint"), wider)


OTHERS = {
    "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight::lora::0": "for Stable Diffusion XL",
    "blocks.16.weight": "transparent encoder",
    "latent_conv_in.weight": "give it as layer_decoder",
    "lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": "this is a LoRA",
    "something.else": "it has none of their keys",
}


@pytest.mark.parametrize("key", OTHERS)
def test_other_files_are_refused_with_the_cause_alone(key, tmp_path, plain_model) -> None:
    save_file({key: np.ones((2, 2), np.float32), "second.key": np.ones(2, np.float32)}, tmp_path / "layer.safetensors")
    with pytest.raises(WeightsError, match=OTHERS[key]) as refused:
        open_layer_attention(tmp_path / "layer.safetensors", plain_model.config.unet)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", ["attention", "attention of XL"])
def test_in_the_place_of_a_model_it_is_recognised(kind, write, tmp_path) -> None:
    if kind == "attention":
        file, said = write("joint"), "give it as layer_attention"
    else:
        file, said = tmp_path / "layer_xl_transparent_attn.safetensors", "for Stable Diffusion XL"
        save_file({next(iter(OTHERS)): np.ones((2, 2), ml_dtypes.bfloat16)}, file)
    with pytest.raises(WeightsError, match=said) as refused:
        DreamLayer.from_pretrained(file)
    assert "\n" not in str(refused.value)


def test_a_lora_before_it_and_after_it_are_one_model(write, plain_model, tmp_path) -> None:
    rng = np.random.default_rng(5)
    name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    down, up = rng.normal(size=(2, 20)).astype(np.float32), rng.normal(size=(20, 2)).astype(np.float32)
    save_file({f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}, tmp_path / "lora.safetensors")
    file = write("transparent_attn")
    before = DreamLayer.from_pretrained(plain_model.folder, layer_attention=file, lora=tmp_path / "lora.safetensors")
    without = DreamLayer.from_pretrained(plain_model.folder, layer_attention=file)
    after = without.with_lora(tmp_path / "lora.safetensors")
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, atol=1e-6), before.params, after.params)
    changed = {path for path, leaf in flatten_dict(after.params).items() if not np.array_equal(leaf, flatten_dict(without.params)[path])}
    assert {path[-2] for path in changed} == {"to_q", "to_q_foreground"}
