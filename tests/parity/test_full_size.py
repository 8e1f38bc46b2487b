"""Stable Diffusion 1.5 at full size, live against PyTorch, on random weights that PyTorch saved: `make parity`, minutes.

Figures are logged: the largest difference over the root mean square of the reference and, in brackets, the root mean square of the
difference over the same, which is what bfloat16 is held to.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from dreamlayer_jax import DreamLayer
from dreamlayer_jax.diffusion.predict import encode_layers, predict
from dreamlayer_jax.models.text_encoder import CLIPTextModel as TextTower
from dreamlayer_jax.models.unet import UNet2DCondition
from dreamlayer_jax.models.vae import AutoencoderKL as Autoencoder
from dreamlayer_jax.prompts import tokenize
from train.tokenizer import build_tokenizer

pytestmark = pytest.mark.slow
FLOAT32, BFLOAT16, LAW = 1e-4, 2e-2, 1e-5
DTYPES = {jnp.float32: FLOAT32, jnp.bfloat16: BFLOAT16}
log = logging.getLogger(__name__)
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 3})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A model in a folder, inputs, and PyTorch's outputs, in our layouts."""

    folder: Path
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]


def nhwc(tensor: torch.Tensor) -> np.ndarray:
    array = tensor.detach().numpy()
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory, randomise_at: Callable[..., torch.nn.Module]) -> Case:
    """One network at a time is in PyTorch's memory."""
    folder = tmp_path_factory.mktemp("full") / "model"
    build_tokenizer(["a", "sandy", "beach", "red", "dog"], folder / "tokenizer", 77, 1024)
    DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1
    ).save_pretrained(folder / "scheduler")
    draw = torch.Generator().manual_seed(1)
    z, prompt = torch.randn(1, 4, 64, 64, generator=draw), torch.randn(1, 77, 768, generator=draw)
    picture, latent = torch.rand(1, 3, 512, 512, generator=draw) * 2 - 1, torch.randn(1, 4, 64, 64, generator=draw)
    ids = torch.randint(0, 49408, (2, 77), generator=draw)
    outputs = {}
    with torch.no_grad():
        unet = randomise_at(lambda: UNet2DConditionModel(sample_size=64, cross_attention_dim=768))
        unet.save_pretrained(folder / "unet")
        outputs["unet"] = nhwc(unet(z, torch.tensor([500]), prompt).sample)
        del unet
        levels = 4
        vae = randomise_at(
            lambda: AutoencoderKL(
                down_block_types=("DownEncoderBlock2D",) * levels,
                up_block_types=("UpDecoderBlock2D",) * levels,
                block_out_channels=(128, 256, 512, 512),
                layers_per_block=2,
                sample_size=512,
            )
        )
        vae.save_pretrained(folder / "vae")
        outputs["mean"], outputs["decoded"] = nhwc(vae.encode(picture).latent_dist.mean), nhwc(vae.decode(latent).sample)
        del vae
        shape = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12}
        text = randomise_at(lambda: CLIPTextModel(CLIPTextConfig(**shape)), on_meta=False)
        text.save_pretrained(folder / "text_encoder")
        outputs["text"] = nhwc(text(ids).last_hidden_state)
    inputs = {"z": nhwc(z), "prompt": prompt.numpy(), "picture": nhwc(picture), "latent": nhwc(latent), "ids": ids.numpy().astype(np.int32)}
    return Case(folder=folder, inputs=inputs, outputs=outputs)


@pytest.fixture(scope="module")
def randomise_at() -> Callable[..., torch.nn.Module]:
    """Makes a network without PyTorch's own initialisation and draws every parameter."""

    def make(network: Callable[[], torch.nn.Module], on_meta: bool = True) -> torch.nn.Module:
        with torch.device("meta" if on_meta else "cpu"):
            made = network()
        made = made.to_empty(device="cpu") if on_meta else made
        generator = torch.Generator().manual_seed(0)
        for name, parameter in made.named_parameters():
            parameter.normal_(generator=generator)
            if parameter.ndim > 1:
                parameter.mul_(parameter[0].numel() ** -0.5)
            else:
                parameter.mul_(0.3).add_(1.0 if name.endswith("weight") else 0.0)
        return made.eval()

    return make


@pytest.fixture(scope="module")
def model(case) -> DreamLayer:
    return DreamLayer.from_pretrained(case.folder)


def compare(what: str, dtype: Any, ours: Any, expected: np.ndarray, most: float) -> None:
    ours = np.asarray(ours, np.float32)
    assert ours.shape == expected.shape
    scale = np.sqrt(np.mean(np.square(expected, dtype=np.float64)))
    largest, mean = np.abs(ours - expected).max() / scale, np.sqrt(np.mean(np.square(ours - expected, dtype=np.float64))) / scale
    log.info("%s, %s: %.1e (%.1e)", what, jnp.dtype(dtype).name, largest, mean)
    assert (mean if dtype == jnp.bfloat16 else largest) <= most


@pytest.mark.parametrize("dtype", DTYPES)
def test_unet_at_64x64_latents(case, model, dtype) -> None:
    unet, z, prompt = UNet2DCondition(model.config.unet, dtype=dtype), case.inputs["z"], case.inputs["prompt"]
    ours = jit(lambda params: unet.apply({"params": params}, z, np.array([500], np.int32), prompt).sample)(model.params["unet"])
    compare("UNet, 64x64 latents", dtype, ours, case.outputs["unet"], DTYPES[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_autoencoder_at_512x512_pixels(case, model, dtype) -> None:
    vae, params = Autoencoder(model.config.vae, dtype=dtype), {"params": model.params["vae"]}
    mean = jit(lambda params: vae.apply(params, case.inputs["picture"], method="encode")[0])(params)
    compare("autoencoder, encode 512x512", dtype, mean, case.outputs["mean"], DTYPES[dtype])
    decoded = jit(lambda params: vae.apply(params, case.inputs["latent"], method="decode"))(params)
    compare("autoencoder, decode 512x512", dtype, decoded, case.outputs["decoded"], DTYPES[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_text_tower_at_77_tokens(case, model, dtype) -> None:
    tower = TextTower(model.config.text, dtype=dtype)
    ours = jit(lambda params: tower.apply({"params": params}, case.inputs["ids"]))(model.params["text_encoder"])
    compare("text tower, 77 tokens", dtype, ours, case.outputs["text"], DTYPES[dtype])


def test_every_layer_is_stable_diffusion_on_its_own_prompt(model) -> None:
    """With LSSA and Eq. 9 off; k + 1 = 3 at 32×32 latents."""
    tokens = tokenize(model.tokenizer, [["a sandy beach"], ["a red dog"]], 77)
    empty = tokenize(model.tokenizer, [[""]], 77).ids[0, 0]
    layered = dataclasses.replace(model.config.layered, layer_shared=False, guided=False)
    config = dataclasses.replace(model.config, layered=layered)
    z, t = np.random.default_rng(0).standard_normal((3, 1, 32, 32, 4), np.float32), np.array([900], np.int32)
    contexts = jit(lambda params: encode_layers(config, params, tokens.ids, tokens.words, empty))(model.params)
    ours = jit(lambda params: predict(config, params, z, t, contexts).sample)(model.params["unet"])
    plain = jit(lambda params, z, prompt: UNet2DCondition(config.unet).apply({"params": params}, z, t, prompt).sample)
    expected = np.stack([plain(model.params["unet"], z[i], contexts.prompt[i]) for i in range(3)])
    compare("every layer against plain, 32x32 latents", jnp.float32, ours, expected, LAW)
