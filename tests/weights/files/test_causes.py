"""Files that people have on their disks, recognised by keys and shapes of the real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dreamlayer_jax.weights.files.causes import likely_cause, misplaced
from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.files.tensor_files import load_safetensors


def tensor(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    ("tensors", "cause"),
    [
        ({"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": tensor(4, 4)}, "this is a LoRA"),
        ({"unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k.lora_A.weight": tensor(4, 4)}, "this is a LoRA"),
        ({"unet.down_blocks.0.attentions.0.processor.to_k_lora.up.weight": tensor(4, 4)}, "this is a LoRA"),
        ({"down_blocks.0.attn1.to_k.base_layer.weight": tensor(4, 4), "x.lora_A.default_0.weight": tensor(4, 4)}, "unload_lora_weights"),
        ({"time_embedding.cond_proj.weight": tensor(320, 256)}, "a full LCM"),
        ({"conditioner.embedders.0.transformer.text_model.final_layer_norm.bias": tensor(8)}, "Stable Diffusion XL"),
        ({"add_embedding.linear_1.weight": tensor(1280, 2816)}, "Stable Diffusion XL"),
        ({"model.diffusion_model.label_emb.0.0.weight": tensor(1280, 2816)}, "Stable Diffusion XL"),
        ({"cond_stage_model.model.ln_final.bias": tensor(1024)}, "Stable Diffusion 2.x"),
        ({"mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight": tensor(1280, 1024)}, "v-prediction"),
        ({"model.diffusion_model.input_blocks.0.0.weight": tensor(320, 8, 3, 3)}, "InstructPix2Pix"),
        ({"model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight": tensor(4, 4)}, "diffusion transformer"),
        ({"control_model.input_hint_block.0.bias": tensor(4)}, "ControlNet"),
    ],
)
def test_known_kinds(tensors: dict[str, np.ndarray], cause: str) -> None:
    assert cause in likely_cause(tensors)


def test_stable_diffusion_1_is_nothing_else(plain_model) -> None:
    for network in ("unet", "vae", "text_encoder"):
        (file,) = (plain_model.folder / network).glob("*.safetensors")
        assert likely_cause(load_safetensors(file)) is None
        assert "one network of a diffusers folder" in misplaced(load_safetensors(file))
    assert "give it as layer_decoder" in misplaced({"latent_conv_in.weight": tensor(4, 4)})


@pytest.mark.parametrize(
    ("name", "content"),
    [("model.ckpt", b"anything"), ("model.bin", b""), ("model.safetensors", b"PK\x03\x04 a zip of torch.save"), ("x", b"\x80\x02}q\x00")],
)
def test_pickles_are_refused_unread(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=r"is a pickle, and reading a pickle runs whatever code is in it.*weights_only=True"):
        load_safetensors(tmp_path / name)
