"""Single files in the original layout: the names against diffusers' own converter, and the same numbers as from the folder."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

from dreamlayer_jax import DreamLayer
from dreamlayer_jax.config import sd15
from dreamlayer_jax.models.layered import base_shapes
from dreamlayer_jax.weights.files.convert import from_params
from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.files.names import key_of
from dreamlayer_jax.weights.files.original_names import original_key, parameter_key
from dreamlayer_jax.weights.formats.diffusers_config import folder_of_config
from dreamlayer_jax.weights.formats.single_file import open_single_file

ODD = dataclasses.replace(
    sd15(),
    unet=dataclasses.replace(
        sd15().unet, block_out_channels=(320, 640, 640), cross_attention=(False, True, True), layers_per_block=3, num_attention_heads=4
    ),
    vae=dataclasses.replace(sd15().vae, block_out_channels=(128, 256), layers_per_block=1),
    layered=dataclasses.replace(sd15().layered, context_block=2),
)
ATTENTION = ("mid.attn_1.q.weight", "mid.attn_1.k.weight", "mid.attn_1.v.weight", "mid.attn_1.proj_out.weight")


@pytest.mark.parametrize("config", [sd15(), ODD], ids=["Stable Diffusion 1.5", "three levels of three, attention at the coarser two"])
def test_names_are_those_that_diffusers_own_converter_reads(config) -> None:
    """Every key carries a number of its own in place of a tensor."""
    number = {key_of(path): torch.full((1, 1, 1, 1), i) for i, path in enumerate(flatten_dict(base_shapes(config)))}
    original = {original_key(key, config): tensor for key, tensor in number.items()}
    assert len(original) == len(number)
    assert {parameter_key(key) for key in original} == original.keys()
    files = folder_of_config(config)
    unet = convert_ldm_unet_checkpoint(dict(original), files["unet/config.json"])
    vae = convert_ldm_vae_checkpoint(dict(original), files["vae/config.json"])
    text = {key.removeprefix("cond_stage_model.transformer."): tensor for key, tensor in original.items() if key.startswith("cond_stage")}
    converted = {f"{network}.{key}": part[key] for network, part in (("unet", unet), ("vae", vae), ("text_encoder", text)) for key in part}
    assert {key: int(tensor.flatten()[0]) for key, tensor in converted.items()} == {key: int(tensor[0]) for key, tensor in number.items()}


@pytest.fixture(scope="module")
def tensors(plain_model) -> dict[str, np.ndarray]:
    """The plain model in the original layout, attention of the autoencoder as 1×1 convolutions, with what is no parameter beside it."""
    original = {original_key(key, plain_model.config): tensor for key, tensor in from_params(plain_model.params).items()}
    for key in original:
        if key.endswith(ATTENTION):
            original[key] = original[key][..., None, None]
    beside = ("alphas_cumprod", "sqrt_one_minus_alphas_cumprod", "model_ema.num_updates", "first_stage_model.loss.logvar")
    original |= dict.fromkeys((*beside, "cond_stage_model.transformer.text_model.embeddings.position_ids"), np.zeros(3, np.float32))
    return original


def test_a_file_gives_what_the_folder_gives(plain_model, tensors, tmp_path: Path) -> None:
    save_file(tensors, tmp_path / "model.safetensors")
    config = dataclasses.replace(plain_model.config, schedule=sd15().schedule)
    single = DreamLayer.from_pretrained(tmp_path / "model.safetensors", config=config, tokenizer=plain_model.folder / "tokenizer")
    folder = DreamLayer.from_pretrained(plain_model.folder)
    assert single.config == folder.config
    assert single.tokenizer("a red dog")["input_ids"] == folder.tokenizer("a red dog")["input_ids"]
    jax.tree.map(np.testing.assert_array_equal, single.params, folder.params)


def test_text_towers_without_their_prefix(plain_model, tensors, tmp_path: Path) -> None:
    older = {key.replace("cond_stage_model.transformer.text_model.", "cond_stage_model.transformer."): t for key, t in tensors.items()}
    save_file(older, tmp_path / "model.safetensors")
    params = open_single_file(tmp_path / "model.safetensors", plain_model.config).read()
    jax.tree.map(np.testing.assert_array_equal, params, plain_model.params)


def test_what_does_not_fit_is_listed_in_the_files_own_names(plain_model, tensors, tmp_path: Path) -> None:
    wrong = dict(tensors)
    del wrong["model.diffusion_model.input_blocks.1.0.in_layers.2.weight"]
    wrong["first_stage_model.encoder.extra"] = np.zeros(1, np.float32)
    wrong["first_stage_model.decoder.up.3.block.0.norm1.weight"] = np.zeros(3, np.float32)
    save_file(wrong, tmp_path / "mine.safetensors")
    with pytest.raises(WeightsError) as caught:
        open_single_file(tmp_path / "mine.safetensors", plain_model.config)
    assert str(caught.value).splitlines()[1:] == [
        "missing from mine.safetensors (1):",
        "  model.diffusion_model.input_blocks.1.0.in_layers.2.weight",
        "in mine.safetensors, not used by the model (1):",
        "  first_stage_model.encoder.extra",
        "in mine.safetensors, of another shape (1):",
        "  first_stage_model.decoder.up.3.block.0.norm1.weight: the file has (3,), the model (8,)",
    ]


def test_without_a_tokenizer_the_error_says_what_to_give(plain_model, tensors, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"no tokenizer could be read from openai/clip-vit-large-patch14 .*vocab\.json and merges\.txt"):
        DreamLayer.from_pretrained(tmp_path / "model.safetensors", config=plain_model.config)


def saved(tensors: dict[str, np.ndarray], file: Path, metadata: dict[str, str] | None = None) -> Path:
    save_file(tensors, file, metadata=metadata)
    return file


def test_an_autoencoder_may_come_from_elsewhere_or_in_diffusers_names(plain_model, tensors, tmp_path: Path) -> None:
    config = plain_model.config
    vae = from_params(plain_model.params["vae"])
    without = {key: tensor for key, tensor in tensors.items() if not key.startswith("first_stage_model.")}
    mixed = saved(without | {f"first_stage_model.{key}": tensor for key, tensor in vae.items()}, tmp_path / "mixed.safetensors")
    jax.tree.map(np.testing.assert_array_equal, open_single_file(mixed, config).read(), plain_model.params)
    bare = saved(without, tmp_path / "bare.safetensors")
    with pytest.raises(WeightsError, match=r"it has no autoencoder; give one beside it.*--vae FILE") as caught:
        open_single_file(bare, config)
    assert len(str(caught.value).splitlines()) == 1
    assert set(open_single_file(bare, config, without_vae=True).fits) == {"unet", "text_encoder"}
    model = DreamLayer.from_pretrained(
        bare, vae=saved(vae, tmp_path / "vae.safetensors"), config=config, tokenizer=plain_model.folder / "tokenizer"
    )
    jax.tree.map(np.testing.assert_array_equal, model.params["vae"], plain_model.params["vae"])


def test_parts_of_a_model_are_named(plain_model, tensors, tmp_path: Path) -> None:
    for prefixes, message in (
        (("model.diffusion_model.",), "it is a UNet without a text encoder"),
        (("model.diffusion_model.", "first_stage_model."), "it is a UNet and an autoencoder without a text encoder"),
        (("first_stage_model.",), "it is an autoencoder alone; give it as --vae"),
    ):
        part = saved({key: tensor for key, tensor in tensors.items() if key.startswith(prefixes)}, tmp_path / "part.safetensors")
        with pytest.raises(WeightsError, match=message) as caught:
            open_single_file(part, plain_model.config)
        assert len(str(caught.value).splitlines()) == 1


MARK = {"v_pred": np.zeros(0, np.float32)}


@pytest.mark.parametrize(
    ("name", "marks", "metadata", "asked", "prediction", "warning"),
    [
        ("model", {}, {}, None, "epsilon", None),
        ("model", MARK, {}, None, "v_prediction", None),
        ("model", {}, {"modelspec.prediction_type": "v"}, None, "v_prediction", None),
        ("model", {}, {"modelspec.prediction_type": "epsilon"}, None, "epsilon", None),
        ("model", {}, {}, "v_prediction", "v_prediction", None),
        ("fluffy-vpred", {}, {}, None, "epsilon", "speaks of v-prediction, and nothing in the file says .* give --prediction v"),
        ("fluffy-vpred", {}, {}, "v_prediction", "v_prediction", None),
        ("fluffy-vpred", MARK, {}, None, "v_prediction", None),
        ("model", MARK, {}, "epsilon", "epsilon", "says that its UNet predicts v_prediction; it is taken to predict epsilon, as asked for"),
    ],
)
def test_what_the_unet_predicts(plain_model, tensors, tmp_path: Path, name, marks, metadata, asked, prediction, warning) -> None:
    file = saved(tensors | marks, tmp_path / f"{name}.safetensors", metadata)
    said: list[str] = []
    model = DreamLayer.from_pretrained(
        file, config=plain_model.config, tokenizer=plain_model.folder / "tokenizer", prediction=asked, on_warning=said.append
    )
    assert model.config.schedule.prediction_type == prediction
    assert len(said) == (warning is not None)
    assert warning is None or re.search(warning, said[0])


def test_what_is_predicted_is_asked_of_single_files_alone_and_other_schedules_are_refused(plain_model, tensors, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="says itself what its UNet predicts; leave --prediction"):
        DreamLayer.from_pretrained(plain_model.folder, prediction="v_prediction")
    file = saved(tensors | MARK | {"ztsnr": np.zeros(0, np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"ends in pure noise \(zero terminal SNR\)"):
        open_single_file(file, plain_model.config)
