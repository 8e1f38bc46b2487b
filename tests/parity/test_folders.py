"""Folders that diffusers itself saved, read here; folders written here, read by diffusers. Every number must be the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from dreamlayer_jax import DreamLayer
from dreamlayer_jax.models.layered import BASE, is_added, select
from dreamlayer_jax.stable_diffusion import decode_latent, encode_image, encode_prompt, predict_noise, text_to_image
from dreamlayer_jax.weights.files.convert import from_params

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


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_whole_pipeline_paints_the_same_picture(pipeline, tmp_path: Path, kind: str) -> None:
    """Same starting noise, 10 DDIM steps, guidance, a negative prompt: within 2/255 everywhere."""
    scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False, prediction_type=kind)
    theirs = StableDiffusionPipeline(**{**pipeline.components, "scheduler": scheduler}, requires_safety_checker=False)
    theirs.set_progress_bar_config(disable=True)
    theirs.save_pretrained(tmp_path / "model")
    noise = torch.randn((1, 4, 2, 4), generator=torch.Generator().manual_seed(1))
    options = {"num_inference_steps": 10, "guidance_scale": 3.0, "height": 16, "width": 32}
    expected = theirs("a red dog", negative_prompt="a duck", latents=noise, output_type="np", **options).images

    model = DreamLayer.from_pretrained(tmp_path / "model")
    latents = noise.permute(0, 2, 3, 1).numpy()
    found = text_to_image(model, ["a red dog"], negative_prompt="a duck", steps=10, guidance=3.0, latents=latents)
    assert found.shape == expected.shape == (1, 16, 32, 3)
    assert np.std(expected) > 0.01
    assert np.abs(found / 255.0 - expected).max() <= 2 / 255


def test_the_pieces_are_the_pipelines_own(pipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path / "model")
    model = DreamLayer.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        embeddings, _ = pipeline.encode_prompt("a red dog", "cpu", 1, False)
        z = torch.randn((1, 4, 2, 2), generator=torch.Generator().manual_seed(2))
        noise = pipeline.unet(z, 501, embeddings).sample
        picture = torch.rand((1, 3, 16, 16), generator=torch.Generator().manual_seed(3)).mul(255).byte()
        latent = pipeline.vae.encode(picture / 127.5 - 1).latent_dist.mean * pipeline.vae.config.scaling_factor

    context = encode_prompt(model, ["a red dog"])
    np.testing.assert_allclose(context, embeddings.numpy(), atol=1e-4)
    found = predict_noise(model, z.permute(0, 2, 3, 1).numpy(), np.array([501]), context)
    np.testing.assert_allclose(found, noise.permute(0, 2, 3, 1).numpy(), atol=1e-4 * noise.abs().max().item())
    encoded = encode_image(model, picture.permute(0, 2, 3, 1).numpy())
    np.testing.assert_allclose(encoded, latent.permute(0, 2, 3, 1).numpy(), atol=1e-4 * latent.abs().max().item())
    with torch.no_grad():
        back = pipeline.vae.decode(latent / pipeline.vae.config.scaling_factor).sample.clamp(-1, 1)
    np.testing.assert_allclose(decode_latent(model, encoded) / 255.0, back.permute(0, 2, 3, 1).numpy() / 2 + 0.5, atol=1 / 255)
