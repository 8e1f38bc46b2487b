"""An autoencoder in a file of its own: three spellings give one network, other kinds are named."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from dreamlayer_jax.weights.files.convert import from_params
from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.files.names import LEGACY_ATTENTION
from dreamlayer_jax.weights.files.original_names import VAE, original_key
from dreamlayer_jax.weights.formats.vae_file import load_vae

Tensors = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def diffusers(plain_model) -> Tensors:
    return from_params(plain_model.params["vae"])


@pytest.fixture(scope="module")
def original(plain_model, diffusers: Tensors) -> Tensors:
    """Attention as 1×1 convolutions, as the published files have it."""
    named = {original_key(f"vae.{key}", plain_model.config): tensor for key, tensor in diffusers.items()}
    return {key: tensor[..., None, None] if "attn_1" in key and tensor.ndim == 2 else tensor for key, tensor in named.items()}


def spelled(kind: str, diffusers: Tensors, original: Tensors) -> Tensors:
    beside = {"loss.logvar": np.zeros(1, np.float32), "model_ema.decay": np.zeros(1, np.float32)}
    if kind == "original":
        return {key.removeprefix(VAE): tensor for key, tensor in original.items()} | beside
    if kind == "first_stage_model":
        return original | {VAE + key: tensor for key, tensor in beside.items()}
    if kind == "diffusers":
        return diffusers
    old = {f".{new}.": f".{older}." for older, new in LEGACY_ATTENTION.items()}
    renamed = {}
    for key, tensor in diffusers.items():
        for new, older in old.items():
            key = key.replace(new, older)
        renamed[key] = tensor
    return renamed


@pytest.mark.parametrize("kind", ["original", "first_stage_model", "diffusers", "diffusers, older attention"])
def test_every_spelling_gives_the_same_network(plain_model, diffusers, original, tmp_path: Path, kind: str) -> None:
    save_file(spelled(kind, diffusers, original), tmp_path / "vae.safetensors")
    vae = load_vae(tmp_path / "vae.safetensors", plain_model.config)
    jax.tree.map(np.testing.assert_array_equal, vae, plain_model.params["vae"])
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(vae))


def test_what_does_not_fit_is_listed_in_the_files_own_names(plain_model, original, tmp_path: Path) -> None:
    wrong = {key.removeprefix(VAE): tensor for key, tensor in original.items()}
    del wrong["post_quant_conv.bias"]
    wrong["encoder.extra.weight"] = np.zeros(1, np.float32)
    save_file(wrong, tmp_path / "vae.safetensors")
    with pytest.raises(WeightsError) as caught:
        load_vae(tmp_path / "vae.safetensors", plain_model.config)
    assert str(caught.value).splitlines()[1:] == [
        "missing from vae.safetensors (1):",
        "  first_stage_model.post_quant_conv.bias",
        "in vae.safetensors, not used by the model (1):",
        "  encoder.extra.weight",
    ]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"model.diffusion_model.out.2.bias": (4,), "first_stage_model.quant_conv.bias": (8,)}, "it is a whole model; give it as"),
        ({"encoder.layers.0.weight": (4, 4), "decoder.layers.1.weight": (4, 4)}, "it is TAESD"),
        ({"encoder.conv_in.weight": (4, 3, 3, 3), "decoder.conv_in.weight": (8, 16, 3, 3)}, r"have 16 channels, the model's 4"),
        ({"encoder.conv_in.weight": (4, 3, 3, 3), "decoder.conv_in.weight": (8, 4, 3, 3)}, "it has no quant_conv"),
        ({"unet.conv_in.weight": (4, 3, 3, 3)}, "it has no encoder and decoder"),
    ],
)  # fmt: skip
def test_other_kinds(plain_model, tmp_path: Path, shapes: dict[str, tuple[int, ...]], message: str) -> None:
    save_file({key: np.zeros(shape, np.float32) for key, shape in shapes.items()}, tmp_path / "vae.safetensors")
    with pytest.raises(WeightsError, match=message):
        load_vae(tmp_path / "vae.safetensors", plain_model.config)
