"""Folders that diffusers itself saved, read here; folders written here, read by diffusers. Every number must be the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from dreamlayer_jax import DreamLayer
from dreamlayer_jax.weights.convert import from_params
from dreamlayer_jax.weights.layered import BASE, is_added, select

# Shards of a few tensors; `variant` goes into the middle of every file's name.
WAYS = {
    "one file": {},
    "shards": {"max_shard_size": "20KB"},
    "fp16": {"variant": "fp16"},
    "fp16 shards": {"variant": "fp16", "max_shard_size": "9KB"},
}


@pytest.fixture(scope="module")
def pipeline(plain_model) -> StableDiffusionPipeline:
    levels = 4
    unet = UNet2DConditionModel(
        sample_size=2, block_out_channels=(12, 20), down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), layers_per_block=1, attention_head_dim=2, cross_attention_dim=12,
        norm_num_groups=4,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(4, 8, 6, 8), down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1, norm_num_groups=2, sample_size=16,
    )  # fmt: skip
    text = CLIPTextConfig(
        vocab_size=1024, hidden_size=12, intermediate_size=20, num_hidden_layers=2, num_attention_heads=3, max_position_embeddings=16,
        bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    return StableDiffusionPipeline(
        unet=unet,
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=CLIPTokenizer.from_pretrained(plain_model.folder / "tokenizer"),
        scheduler=PNDMScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1, skip_prk_steps=True, set_alpha_to_one=False
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def base_of(model: DreamLayer) -> dict[str, np.ndarray]:
    return from_params(select(model.params, lambda path: path[0] in BASE and not is_added(path)))


def parameters_of(pipeline: StableDiffusionPipeline) -> dict[str, torch.Tensor]:
    """PyTorch's tensors by "<network>.<key>", with the text tower's prefix, which transformers 5 leaves out of its keys."""
    found = {}
    for network in BASE:
        for key, tensor in getattr(pipeline, network).state_dict().items():
            prefix = "text_model." if network == "text_encoder" and not key.startswith("text_model.") else ""
            found[f"{network}.{prefix}{key}"] = tensor
    return found


@pytest.mark.parametrize("way", WAYS)
def test_what_diffusers_saves_arrives(pipeline, plain_model, tmp_path: Path, way: str) -> None:
    shutil.copytree(plain_model.folder / "tokenizer", tmp_path / "model" / "tokenizer")
    pipeline.scheduler.save_pretrained(tmp_path / "model" / "scheduler")
    for network in BASE:
        options = dict(WAYS[way])
        if network == "text_encoder" and "variant" in options:
            options.pop("max_shard_size", None)  # transformers' smallest shard is larger than this tower
        getattr(pipeline, network).save_pretrained(tmp_path / "model" / network, **options)
    if "shards" in way:
        assert len([*(tmp_path / "model" / "unet").glob("*.safetensors")]) > 2
    model = DreamLayer.from_pretrained(tmp_path / "model")
    assert model.config == plain_model.config
    found, expected = base_of(model), parameters_of(pipeline)
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        np.testing.assert_array_equal(found[key], tensor.numpy(), err_msg=key)


def test_what_is_exported_pytorch_loads_strictly_with_identical_outputs(pipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path / "theirs")
    DreamLayer.from_pretrained(tmp_path / "theirs").export_diffusers(tmp_path / "ours")
    _, unet = UNet2DConditionModel.from_pretrained(tmp_path / "ours" / "unet", output_loading_info=True)
    _, vae = AutoencoderKL.from_pretrained(tmp_path / "ours" / "vae", output_loading_info=True)
    _, text = CLIPTextModel.from_pretrained(tmp_path / "ours" / "text_encoder", output_loading_info=True)
    for info in (unet, vae, text):
        assert not info["missing_keys"]
        assert not info["unexpected_keys"]
        assert not info["mismatched_keys"]

    again = StableDiffusionPipeline.from_pretrained(tmp_path / "ours")
    again.scheduler = PNDMScheduler.from_config(again.scheduler.config, skip_prk_steps=True)
    pictures = []
    for each in (pipeline, again):
        each.set_progress_bar_config(disable=True)
        generator = torch.Generator().manual_seed(0)
        pictures.append(each("a red dog", num_inference_steps=2, generator=generator, output_type="np", height=16, width=16).images)
    np.testing.assert_array_equal(pictures[0], pictures[1])
