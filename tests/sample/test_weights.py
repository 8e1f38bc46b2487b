"""`--weights` for Stable Diffusion: a folder with a layer decoder generates, and what cannot be loaded is one paragraph and status 1."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dreamlayer_jax.weights.files.convert import from_params
from dreamlayer_jax.weights.files.original_names import original_key

UNET = "unet/diffusion_pytorch_model.safetensors"


def test_a_diffusers_folder_with_a_layer_decoder(generate, plain_model, layer_decoder: Path, tmp_path: Path) -> None:
    folder = plain_model.folder
    done = generate("--out", tmp_path / "out", "--layer-decoder", layer_decoder, "--tokenizer", folder / "tokenizer", weights=folder)
    assert done.status == 0, done.err
    assert (tmp_path / "out" / "sheet.png").is_file()


def test_additions_to_a_model(generate, plain_model, layer_decoder: Path, tmp_path: Path) -> None:
    """A LoRA, a learned word and an autoencoder of its own change the picture, each; the word is counted in the span of its layer."""
    rng = np.random.default_rng(7)
    module = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_v"
    down, up = rng.standard_normal((2, 20), np.float32), rng.standard_normal((20, 2), np.float32)
    save_file({f"{module}.lora_down.weight": down, f"{module}.lora_up.weight": up}, tmp_path / "style.safetensors")
    save_file({"emb_params": rng.standard_normal((3, 12), np.float32)}, tmp_path / "styl.safetensors")
    save_file(from_params(jax.tree.map(lambda leaf: 1.1 * leaf, plain_model.params["vae"])), tmp_path / "vae.safetensors")
    seen = {}
    for name, arguments in {
        "plain": (),
        "lora": ("--lora", f"{tmp_path / 'style.safetensors'}:0.8"),
        "embedding": ("--embedding", f"toy={tmp_path / 'styl.safetensors'}"),
        "vae": ("--vae", tmp_path / "vae.safetensors"),
    }.items():
        out = tmp_path / name
        done = generate("--layer-decoder", layer_decoder, *arguments, "--out", out, weights=plain_model.folder, foregrounds=("a toy dog",))
        assert done.status == 0, done.err
        seen[name] = (out / "0_background.png").read_bytes() + (out / "1_a_toy_dog.png").read_bytes()
    assert len(set(seen.values())) == len(seen)


def test_all_keys_on_request(generate, plain_model, layer_decoder: Path, tmp_path: Path) -> None:
    keys = [f"lora_te2_text_model_encoder_layers_{i}_mlp_fc1.lora_down.weight" for i in range(40)]
    save_file({key: np.ones((2, 4), np.float32) for key in keys}, tmp_path / "xl.safetensors")
    arguments = ("--lora", tmp_path / "xl.safetensors", "--layer-decoder", layer_decoder, "--out", tmp_path / "out")
    brief = generate(*arguments, weights=plain_model.folder)
    full = generate(*arguments, "--all-keys", weights=plain_model.folder)
    assert brief.status == full.status == 1
    assert "this is Stable Diffusion XL" in brief.err
    assert len(brief.err.splitlines()) == 1
    lines = full.err.strip().splitlines()
    assert "this is Stable Diffusion XL" in lines[0]
    assert lines[0].removeprefix("error: ") == lines[-1]
    assert {key.removesuffix(".lora_down.weight") for key in keys} <= {line.strip() for line in lines}


def cut_short(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-100])
    return path


def single_file(plain_model, folder: Path) -> Path:
    tensors = {original_key(key, plain_model.config): tensor for key, tensor in from_params(plain_model.params).items()}
    save_file(tensors, folder / "v1-5.safetensors")
    return folder / "v1-5.safetensors"


def a_ckpt(folder: Path) -> Path:
    (folder / "v1-5.ckpt").write_bytes(b"PK\x03\x04")
    return folder / "v1-5.ckpt"


def a_lora(folder: Path) -> Path:
    save_file({"lora_unet_mid_block.lora_up.weight": np.zeros((2, 2), np.float32)}, folder / "style.safetensors")
    return folder / "style.safetensors"


def empty(folder: Path) -> Path:
    (folder / "nothing").mkdir()
    return folder / "nothing"


def sdxl(folder: Path) -> Path:
    (folder / "text_encoder_2").mkdir()
    config = json.loads((folder / "unet/config.json").read_text())
    (folder / "unet/config.json").write_text(json.dumps(config | {"addition_embed_type": "text_time", "cross_attention_dim": 2048}))
    return folder


def one_key_missing(folder: Path) -> Path:
    tensors = load_file(folder / UNET)
    del tensors["mid_block.resnets.0.conv1.weight"]
    save_file(tensors, folder / UNET)
    return folder


CASES: list[tuple[Callable[[Path, Any], Path], str]] = [
    (lambda folder, _: cut_short(folder / UNET).parents[1], "diffusion_pytorch_model.safetensors is not a whole safetensors file"),
    (lambda folder, model: cut_short(single_file(model, folder)), "v1-5.safetensors is not a whole safetensors file"),
    (lambda folder, model: single_file(model, folder), "model.diffusion_model.input_blocks.0.0.weight: the file has (12, 4, 3, 3)"),
    (lambda folder, _: a_ckpt(folder), "v1-5.ckpt is a pickle, and reading a pickle runs whatever code is in it"),
    (lambda folder, _: a_ckpt(empty(folder)).parent, "v1-5.ckpt is a pickle"),
    (lambda folder, _: a_lora(folder), "style.safetensors cannot be used as a model: this is a LoRA"),
    (lambda folder, _: empty(folder), "is no model; it holds nothing: it is empty. Give a DreamLayer folder, a diffusers folder"),
    (lambda folder, _: sdxl(folder), "this is Stable Diffusion XL"),
    (lambda folder, _: one_key_missing(folder), f"missing from {UNET} (1): mid_block.resnets.0.conv1.weight"),
    (lambda folder, _: folder / UNET, "this is one network of a diffusers folder: give the whole folder"),
    (lambda folder, _: folder, "the model has no layer decoder, which finds the alpha of every foreground; load it with"),
]


@pytest.mark.parametrize(("make", "message"), CASES, ids=[message[:40] for _, message in CASES])
def test_one_paragraph_and_status_1(
    generate, plain_model, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, make: Callable[[Path, Any], Path], message: str
) -> None:
    folder = Path(shutil.copytree(plain_model.folder, tmp_path_factory.mktemp("weights") / "model"))
    done = generate("--out", tmp_path / "out", weights=make(folder, plain_model))
    assert done.status == 1
    assert "error: " in done.err
    assert "Traceback" not in done.err
    assert "\n\n" not in done.err.strip()
    assert message in " ".join(done.err.split())
    assert list(tmp_path.iterdir()) == []


def test_wrong_companions_are_named(generate, plain_model, layer_decoder: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (("--layer-decoder", tmp_path / "none.safetensors"), "there is no weight file"),
        (("--layer-decoder", plain_model.folder / UNET), "is not a layer decoder of LayerDiffusion"),
        (("--layer-decoder", layer_decoder, "--tokenizer", tmp_path), "no tokenizer could be read from"),
        (("--layer-decoder", layer_decoder, "--trained", tmp_path), "is not a DreamLayer trained part folder: it has no manifest.json"),
    ):
        done = generate("--out", tmp_path / "out", *arguments, weights=plain_model.folder)
        assert done.status == 1
        assert done.err.startswith("error: ")
        assert message in " ".join(done.err.split())
