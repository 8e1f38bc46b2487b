"""Diffusers folders: every number arrives, in one file or several, and what is not Stable Diffusion 1.x is told so."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dreamlayer_jax import DreamLayer
from dreamlayer_jax.config import pocket, sd15
from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.formats.diffusers_config import config_of_folder, folder_of_config
from dreamlayer_jax.weights.formats.diffusers_folder import export_diffusers, load_diffusers

UNET = "unet/diffusion_pytorch_model.safetensors"


def assert_same(ours: Any, expected: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, ours, expected)


@pytest.fixture
def folder(plain_model, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return Path(shutil.copytree(plain_model.folder, tmp_path / "model"))


def rewrite(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_every_parameter_arrives_on_the_device_in_float32(plain_model) -> None:
    config, params = load_diffusers(plain_model.folder, "model")
    assert config == plain_model.config
    assert_same(params, plain_model.params)
    assert all(isinstance(leaf, jax.Array) and leaf.dtype == np.float32 for leaf in jax.tree.leaves(params))


def test_shards(plain_model, folder: Path) -> None:
    tensors = load_file(folder / UNET)
    (folder / UNET).unlink()
    names, keys = ("diffusion_pytorch_model-00001-of-00002.safetensors", "diffusion_pytorch_model-00002-of-00002.safetensors"), [*tensors]
    halves = {names[0]: keys[::2], names[1]: keys[1::2]}
    for name, half in halves.items():
        save_file({key: tensors[key] for key in half}, folder / "unet" / name)
    index = {"metadata": {}, "weight_map": {key: name for name, half in halves.items() for key in half}}
    (folder / f"{UNET}.index.json").write_text(json.dumps(index))
    assert_same(load_diffusers(folder, "model")[1], plain_model.params)

    (folder / "unet" / names[1]).unlink()
    with pytest.raises(WeightsError, match=f"there is no weight file .*{names[1]}"):
        load_diffusers(folder, "model")


def test_half_precision_variants_where_there_is_nothing_else(plain_model, folder: Path) -> None:
    for network in ("unet", "vae", "text_encoder"):
        (file,) = (folder / network).glob("*.safetensors")
        half = {key: tensor.astype(np.float16) for key, tensor in load_file(file).items()}
        file.unlink()
        save_file(half, file.with_suffix(".fp16.safetensors"))
    rounded = jax.tree.map(lambda leaf: leaf.astype(np.float16).astype(np.float32), plain_model.params)
    assert_same(load_diffusers(folder, "model")[1], rounded)


def test_what_does_not_fit_is_listed_of_all_networks_at_once(folder: Path) -> None:
    unet, vae = load_file(folder / UNET), load_file(folder / "vae/diffusion_pytorch_model.safetensors")
    del unet["conv_out.bias"]
    vae["encoder.extra.weight"] = np.zeros(2, np.float32)
    save_file(unet, folder / UNET)
    save_file(vae, folder / "vae/diffusion_pytorch_model.safetensors")
    with pytest.raises(WeightsError) as caught:
        load_diffusers(folder, "model")
    assert str(caught.value).splitlines() == [
        f"the weights in {folder} are not of this model; check that file and configuration belong together",
        f"missing from {UNET} (1):",
        "  conv_out.bias",
        "in vae/diffusion_pytorch_model.safetensors, not used by the model (1):",
        "  encoder.extra.weight",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "text_encoder_2").mkdir(), "this is Stable Diffusion XL"),
        (lambda folder: rewrite(folder / "unet/config.json", addition_embed_type="text_time"), "this is Stable Diffusion XL"),
        (lambda folder: rewrite(folder / "unet/config.json", in_channels=9), r"conv_in.weight: the file has \(12, 4, .* \(12, 9,"),
        (lambda folder: rewrite(folder / "unet/config.json", in_channels=8), "this is an InstructPix2Pix model"),
        (lambda folder: rewrite(folder / "unet/config.json", cross_attention_dim=1024), "this is Stable Diffusion 2.x .*v-prediction"),
        (lambda folder: rewrite(folder / "unet/config.json", class_embed_type="timestep"), "class_embed_type is 'timestep'; .* None only"),
        (lambda folder: rewrite(folder / "unet/config.json", down_block_types=["AttnDownBlock2D"]), "down_block_types is .*Attn"),
        (lambda folder: rewrite(folder / "unet/config.json", up_block_types=["UpBlock2D"]), "to these down blocks belong"),
        (lambda folder: rewrite(folder / "unet/config.json", layers_per_block=[1, 2]), "layers_per_block is .*; input should be"),
        (lambda folder: rewrite(folder / "vae/config.json", shift_factor=0.1), "shift_factor is 0.1"),
        (lambda folder: rewrite(folder / "text_encoder/config.json", hidden_act="relu"), "hidden_act is 'relu'"),
        (lambda folder: rewrite(folder / "text_encoder/config.json", hidden_size=24), "takes prompts 12 wide, the text encoder gives 24"),
        (lambda folder: rewrite(folder / "scheduler/scheduler_config.json", beta_schedule="linear"), "beta_schedule is 'linear'"),
        (lambda folder: (folder / "scheduler/scheduler_config.json").unlink(), "scheduler_config.json is missing"),
        (lambda folder: (folder / "vae/config.json").write_text("{"), "vae/config.json is damaged"),
        (lambda folder: (folder / UNET).unlink(), "unet has no diffusion_pytorch_model.safetensors.*; there is config.json"),
        (
            lambda folder: (folder / UNET).rename(folder / "unet/diffusion_pytorch_model.bin"),
            "diffusion_pytorch_model.bin is a pickle, and reading a pickle runs whatever code is in it.*weights_only=True",
        ),
    ],
)  # fmt: skip
def test_other_models_and_damage_are_named(folder: Path, change: Callable[[Path], Any], message: str) -> None:
    change(folder)
    with pytest.raises(WeightsError, match=message):
        load_diffusers(folder, "model")


def test_a_tokenizer_that_is_missing_or_of_another_model(folder: Path) -> None:
    rewrite(folder / "text_encoder/config.json", vocab_size=200)
    tensors = load_file(folder / "text_encoder/model.safetensors")
    tensors["text_model.embeddings.token_embedding.weight"] = tensors["text_model.embeddings.token_embedding.weight"][:200].copy()
    save_file(tensors, folder / "text_encoder/model.safetensors")
    with pytest.raises(WeightsError, match=r"has \d+ tokens, and the text tower knows 200"):
        DreamLayer.from_pretrained(folder)
    (folder / "tokenizer/tokenizer.json").unlink()
    with pytest.raises(WeightsError, match=r"it has neither tokenizer\.json nor vocab\.json with merges\.txt"):
        DreamLayer.from_pretrained(folder)
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(WeightsError, match=r"no tokenizer could be read from .*; give tokenizer, a folder"):
        DreamLayer.from_pretrained(folder)


def test_configurations_round_trip(tmp_path: Path) -> None:
    base = sd15()
    v_prediction = dataclasses.replace(
        base,
        unet=dataclasses.replace(base.unet, num_attention_heads=(5, 10, 20, 20), use_linear_projection=True),
        schedule=dataclasses.replace(base.schedule, prediction_type="v_prediction", timestep_spacing="trailing"),
    )
    for i, config in enumerate((base, v_prediction)):
        for name, tree in folder_of_config(config).items():
            (tmp_path / str(i) / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / str(i) / name).write_text(json.dumps(tree))
        assert config_of_folder(tmp_path / str(i), "sd15") == config


def test_what_diffusers_cannot_hold_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'pocket' folds pixels into patches or turns queries by place"):
        export_diffusers(tmp_path / "out", pocket(), {}, None)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError):
        export_diffusers(tmp_path, sd15(), {}, None)
