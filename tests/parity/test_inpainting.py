"""An inpainting model against diffusers (PyTorch): its UNet, and its whole pipeline from the same noise and picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionInpaintPipeline, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image

from dreamlayer_jax.model import Model
from dreamlayer_jax.stable_diffusion import encode_prompt, inpaint, load_plain, predict_noise


@pytest.fixture(scope="module")
def model(inpainting_model) -> Model:
    return load_plain(inpainting_model.folder)


def test_the_unet(model, inpainting_model, draw, nhwc, relative_error) -> None:
    reference = UNet2DConditionModel.from_pretrained(inpainting_model.folder / "unet")
    z, t, context = draw(2, 9, 2, 4), np.array([981, 7]), encode_prompt(model, ["a red dog", "a beach"])
    with torch.no_grad():
        expected = reference(z, torch.from_numpy(t), torch.from_numpy(np.array(context))).sample
    assert relative_error(predict_noise(model, nhwc(z), t.astype(np.int32), context), expected) <= 1e-4


def test_the_whole_pipeline_fills_a_hole_alike(model, inpainting_model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same starting noise, 6 DDIM steps, guidance, a negative prompt: the picture before it is rounded to bytes, within 1e-3 of its spread.

    diffusers draws the latent of the masked picture; its mean is taken there, as it is here.
    """
    networks = StableDiffusionPipeline.from_pretrained(inpainting_model.folder).components
    pipeline = StableDiffusionInpaintPipeline(**networks, requires_safety_checker=False)
    assert isinstance(pipeline.scheduler, DDIMScheduler)
    pipeline.set_progress_bar_config(disable=True)
    monkeypatch.setattr(
        "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_inpaint.retrieve_latents",
        lambda output, **_: output.latent_dist.mode(),
    )
    rgb = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)
    hole = np.zeros((64, 128), bool)
    hole[10:53, 32:85] = True  # 32: a cell's first pixel; 10, 53, 85: in the middle of one
    noise = torch.randn((1, 4, 8, 16), generator=torch.Generator().manual_seed(1))
    seen: dict[str, np.ndarray] = {}
    monkeypatch.setattr(
        "dreamlayer_jax.stable_diffusion.decode_latent", lambda model, latent: seen.setdefault("latent", np.asarray(latent))
    )
    expected = pipeline(
        "a red dog", Image.fromarray(rgb), Image.fromarray(hole), negative_prompt="a duck", latents=noise, num_inference_steps=6,
        guidance_scale=3.0, height=64, width=128, strength=1.0, output_type="latent",
    ).images  # fmt: skip
    options = {"negative_prompt": "a duck", "steps": 6, "guidance": 3.0, "latents": noise.permute(0, 2, 3, 1).numpy()}
    inpaint(model, rgb[None], hole[None], ["a red dog"], **options)
    expected = expected.permute(0, 2, 3, 1).numpy()
    found = seen.pop("latent")
    assert np.abs(found - expected).max() <= 1e-3 * np.std(expected)
    inpaint(model, rgb[None], ~hole[None], ["a red dog"], **options)
    assert np.abs(seen["latent"] - expected).max() > 0.1 * np.std(expected)
