"""CLIP by path: a small random model as transformers saves it, and folders that are none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dreamlayer_jax.compositing import to_uint8
from dreamlayer_jax.weights.files.errors import WeightsError
from sample.evaluate.clip import load_clip
from sample.evaluate.torch_folder import PIECE
from train.tokenizer import build_tokenizer


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import CLIPConfig, CLIPModel, CLIPProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    folder = tmp_path_factory.mktemp("clip") / "model"
    tokenizer = build_tokenizer(["a", "dog", "sandy", "beach"], folder, 8, 600)
    common = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    text = {**common, **ends, "vocab_size": 600, "max_position_embeddings": 8}
    config = CLIPConfig(text_config=text, vision_config={**common, "image_size": 32, "patch_size": 8}, projection_dim=6)
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    pictures = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(image_processor=pictures, tokenizer=tokenizer).save_pretrained(folder)
    return folder


def test_features_are_those_of_transformers_in_pieces(clip_folder: Path) -> None:
    import torch
    from transformers import CLIPModel, CLIPProcessor

    rgb_01 = np.random.default_rng(0).random((PIECE + 1, 64, 64, 3), np.float32)
    prompts = ["a dog", "a sandy beach, a dog, a dog, a dog"]  # the second is too long, and cut
    clip = load_clip(clip_folder)
    pictures, texts = clip.features(rgb_01), clip.text_features(prompts)
    assert (pictures.shape, texts.shape) == ((PIECE + 1, 6), (2, 6))
    model, processor = CLIPModel.from_pretrained(clip_folder).eval(), CLIPProcessor.from_pretrained(clip_folder)
    with torch.no_grad():
        inputs = processor(images=list(to_uint8(rgb_01[-2:])), text=prompts, return_tensors="pt", padding=True, truncation=True)
        out = model(**inputs)

    def unit(rows: np.ndarray) -> np.ndarray:
        return rows / np.linalg.norm(rows, axis=-1, keepdims=True)

    np.testing.assert_allclose(unit(pictures[-2:]), unit(out.image_embeds.numpy()), atol=1e-5)
    np.testing.assert_allclose(unit(texts), unit(out.text_embeds.numpy()), atol=1e-5)


def test_a_folder_without_a_whole_clip_model_is_named(clip_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"there is no CLIP model in .*nowhere; expected is a folder with CLIP model's config\.json"):
        load_clip(tmp_path / "nowhere")

    def changed(name: str) -> Path:
        return Path(shutil.copytree(clip_folder, tmp_path / name))

    folder = changed("pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"cannot be read .*model\.safetensors"):
        load_clip(folder)
    folder = changed("short")
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match="cannot be read"):
        load_clip(folder)
    folder = changed("half")
    tensors = load_file(folder / "model.safetensors")
    save_file({key: tensor for key, tensor in tensors.items() if key != "visual_projection.weight"}, folder / "model.safetensors")
    with pytest.raises(WeightsError, match=r"lacks 1 of the CLIP model's tensors, such as visual_projection\.weight"):
        load_clip(folder)
    folder = changed("unread")
    (folder / "processor_config.json").write_text("{")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_clip(folder)
    assert json.loads((clip_folder / "config.json").read_text())["model_type"] == "clip"


def test_without_pytorch_the_way_out_is_said(clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.utils.is_torch_available", lambda: False)
    with pytest.raises(WeightsError, match=r"--clip needs PyTorch, which is not installed: pip install torch"):
        load_clip(clip_folder)
