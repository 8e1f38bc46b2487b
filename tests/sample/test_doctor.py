"""`doctor`: what files are and what they make possible, from headers alone; at Stable Diffusion 1.5's size on files without content."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

from dreamlayer_jax.config import LayerAttentionConfig, LayerDecoderConfig, sd15
from dreamlayer_jax.models.layer_decoder import LayerDecoder
from dreamlayer_jax.models.layered import base_shapes
from dreamlayer_jax.weights.files.convert import from_params
from dreamlayer_jax.weights.files.names import key_of, torch_shape
from dreamlayer_jax.weights.files.original_names import original_key
from dreamlayer_jax.weights.files.tensor_files import TensorFiles
from dreamlayer_jax.weights.formats.layer_attention import expected_shapes

Shapes = Mapping[str, tuple[int, ...]]


@pytest.fixture(autouse=True)
def no_tensor_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: TensorFiles, key: str) -> np.ndarray:
        raise AssertionError(f"{key} was read")

    monkeypatch.setattr(TensorFiles, "__getitem__", refuse)


def test_the_shipped_model(sample, tiny_folder: Path) -> None:
    done = sample("doctor", "--weights", tiny_folder)
    assert done.status == 0, done.err
    assert "a DreamLayer folder" in done.out
    assert "text to layers, up to 2 foregrounds; edit; decompose" in done.out
    assert "steps:   50 of ddim, guidance 1.5: two calls" in done.out


def test_every_file_is_looked_at_and_every_problem_said(sample, plain_model, layer_attention_file, tmp_path: Path) -> None:
    attention = tmp_path / "layer_sd15_bg2fg.safetensors"
    save_file({key: np.ascontiguousarray(t) for key, t in layer_attention_file(plain_model.config.unet, "bg2fg").items()}, attention)
    module = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_v"
    save_file(
        {f"{module}.lora_down.weight": np.ones((2, 20)), f"{module}.lora_up.weight": np.ones((20, 2))}, tmp_path / "style.safetensors"
    )
    save_file({"emb_params": np.ones((3, 12), np.float32)}, tmp_path / "styl.safetensors")
    save_file(from_params(plain_model.params["vae"]), tmp_path / "vae.safetensors")
    good = ("--vae", tmp_path / "vae.safetensors", "--lora", f"{tmp_path / 'style.safetensors'}:0.5", "--layer-attention", attention)
    good += ("--embedding", f"toy={tmp_path / 'styl.safetensors'}")
    done = sample("doctor", "--weights", plain_model.folder, *good)
    assert done.status == 0, done.err
    for said in (
        "a diffusers folder, 0.00 GB; it predicts the noise",
        "an autoencoder, 0.00 GB. That it is not Stable Diffusion XL's, its header cannot tell",
        "style.safetensors: a LoRA; 1 layers of the UNet, rank 2, at strength 0.5",
        "the word 'toy', 3 tokens of a prompt",
        "LayerDiffusion's attention, bg2fg (foreground, global), rank 3",
        "no layers yet: the alpha of a foreground needs LayerDiffusion's layer_sd15_vae_transparent_decoder.safetensors as --layer-decoder",
    ):
        assert said in done.out, said

    save_file({"lora_te2_x.lora_up.weight": np.ones((2, 2))}, tmp_path / "xl.safetensors")
    bad = ("--lora", tmp_path / "xl.safetensors", "--layer-decoder", tmp_path / "vae.safetensors")
    done = sample("doctor", "--weights", plain_model.folder, *good, *bad)
    assert done.status == 1
    assert "this is Stable Diffusion XL" in done.err
    assert "vae.safetensors is not a layer decoder of LayerDiffusion" in done.err
    assert "the word 'toy'" in done.out


def test_an_inpainting_model_is_named_and_generate_refuses_it(sample, inpainting_model, tmp_path: Path) -> None:
    done = sample("doctor", "--weights", inpainting_model.folder)
    assert done.status == 0, done.err
    assert "an inpainting model (latent, mask and picture: 9 channels), a diffusers folder" in done.out
    assert "holes of pictures filled: python -m data from-pictures --models.fill" in done.out
    assert "no layers, and no pictures from text alone" in done.out
    scene = ("--background", "a beach", "--foreground", "a dog", "--out", tmp_path / "out")
    done = sample("generate", "--weights", inpainting_model.folder, *scene)
    assert done.status == 1
    assert "makes no layers; for layers take the plain model" in done.err


def test_a_hub_id_is_not_downloaded(sample, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[bool] = []

    def snapshot_download(hub_id: str, *, local_files_only: bool, **patterns: Any) -> str:
        asked.append(local_files_only)
        raise FileNotFoundError("not in the cache")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    done = sample("doctor", "--weights", "owner/name")
    assert done.status == 1
    assert "owner/name cannot be fetched: not in the cache" in done.err
    assert asked == [True]


def without_content(shapes: Shapes, file: Path) -> Path:
    """A half-precision file with a whole header and a hole in the place of its tensors."""
    header, end = {}, 0
    for key, shape in shapes.items():
        size = 2 * int(np.prod(shape))
        header[key] = {"dtype": "F16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with open(file, "wb") as opened:
        opened.write(len(text).to_bytes(8, "little") + text)
        opened.truncate(8 + len(text) + end)
    return file


def torch_shapes(tree: Any) -> dict[tuple[str, ...], tuple[int, ...]]:
    return {path: torch_shape(path, tuple(leaf.shape)) for path, leaf in flatten_dict(tree).items()}


@pytest.fixture(scope="module")
def published(few_step_lora, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The public files, by their names, of full size: shapes and keys as published, no content."""
    folder, config = tmp_path_factory.mktemp("published"), sd15()
    base = torch_shapes(base_shapes(config))
    without_content({original_key(key_of(path), config): shape for path, shape in base.items()}, folder / "realisticVisionV51.safetensors")
    (folder / "lcm-lora-sdv1-5").mkdir()
    without_content(few_step_lora(config, 64), folder / "lcm-lora-sdv1-5/pytorch_lora_weights.safetensors")
    for kind in ("transparent_attn", "joint", "bg2fg"):
        widths = {"control_widths": (32, 64, 128, 256)} if kind == "bg2fg" else {}
        shapes = expected_shapes(LayerAttentionConfig(kind=kind, **widths), 256, config.unet)
        without_content(shapes, folder / f"layer_sd15_{kind}.safetensors")
    picture, latent = (jax.ShapeDtypeStruct(shape, np.float32) for shape in ((1, 64, 64, 3), (1, 8, 8, 4)))
    decoder = jax.eval_shape(LayerDecoder(LayerDecoderConfig()).init, jax.random.key(0), picture, latent)["params"]
    shapes = {key_of(path): shape for path, shape in torch_shapes(decoder).items()}
    without_content(shapes, folder / "layer_sd15_vae_transparent_decoder.safetensors")
    return folder


def test_the_files_are_of_the_published_sizes(published: Path) -> None:
    """MB of the listings at Hugging Face, which tell that layouts and counts are theirs."""
    sizes = {file.name: file.stat().st_size / 1e6 for file in published.rglob("*.safetensors")}
    listed = {
        "pytorch_lora_weights.safetensors": 135,
        "layer_sd15_transparent_attn.safetensors": 350,
        "layer_sd15_joint.safetensors": 554,
        "layer_sd15_bg2fg.safetensors": 563,
        "layer_sd15_vae_transparent_decoder.safetensors": 208,
    }
    assert {name: round(sizes[name]) for name in listed} == listed


def test_the_public_files_at_full_size(sample, published: Path) -> None:
    done = sample(
        "doctor",
        "--weights", published / "realisticVisionV51.safetensors",
        "--lora", published / "lcm-lora-sdv1-5/pytorch_lora_weights.safetensors",
        "--layer-attention", published / "layer_sd15_joint.safetensors",
        "--layer-decoder", published / "layer_sd15_vae_transparent_decoder.safetensors",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert "an LCM-LoRA: sampler lcm, 4 steps, no guidance; 278 layers of the UNet, rank 64, at strength 1" in done.out
    assert "layers without training (joint): one foreground, its background and their blend" in done.out
    assert "steps:   4 of lcm, no guidance: one call of the UNet a step and layer" in done.out
    parameters = float(re.search(r"memory: +([\d.]+) GiB of parameters", done.out)[1])
    millions = 859.5 + 83.7 + 123.1 + 104.1 + 3 * 93.5 + 124  # base and decoder, a copy of 32 attentions' kernels a role, the exchange
    assert parameters == pytest.approx(millions * 1e6 * 4 / 2**30, abs=0.1)
