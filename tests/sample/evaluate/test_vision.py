"""Any vision model by path: small random models as transformers saves them, and folders that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dreamlayer_jax.compositing import to_uint8
from dreamlayer_jax.weights.files.errors import WeightsError
from sample.evaluate.torch_folder import PIECE
from sample.evaluate.vision import load_vision

RGB_01 = np.random.default_rng(0).random((PIECE + 1, 64, 64, 3), np.float32)


def save(folder: Path, model: Any) -> Path:
    from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

    model.save_pretrained(folder)
    BitImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}).save_pretrained(folder)
    return folder


def test_features_are_the_pooled_output_in_pieces(tmp_path: Path) -> None:
    import torch
    from transformers import AutoImageProcessor, Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14, mlp_ratio=1)
    folder = save(tmp_path / "dino", Dinov2Model(config))
    vision = load_vision(folder)
    found = vision.features(RGB_01)
    assert found.shape == (PIECE + 1, 8)
    assert vision.title == "Dinov2Model's pooled features"
    with torch.no_grad():
        pictures = AutoImageProcessor.from_pretrained(folder)(list(to_uint8(RGB_01[-2:])), return_tensors="pt")
        theirs = Dinov2Model.from_pretrained(folder).eval()(**pictures).pooler_output.numpy()
    np.testing.assert_allclose(found[-2:], theirs, atol=1e-5)


def test_maps_are_flattened_and_without_a_pool_places_are_averaged(tmp_path: Path) -> None:
    import torch
    from transformers import ResNetConfig, ResNetModel, ViTMAEConfig, ViTMAEModel

    resnet = ResNetConfig(embedding_size=4, hidden_sizes=[4, 6], depths=[1, 1], layer_type="basic")
    assert load_vision(save(tmp_path / "resnet", ResNetModel(resnet))).features(RGB_01[:3]).shape == (3, 6)
    mae = ViTMAEConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=28, patch_size=14, mask_ratio=0.0
    )
    vision = load_vision(save(tmp_path / "mae", ViTMAEModel(mae)))
    found = vision.features(RGB_01[:3])
    with torch.no_grad():
        pictures = vision.processor(list(to_uint8(RGB_01[:3])), return_tensors="pt")
        theirs = vision.model(**pictures).last_hidden_state.mean(1).numpy()
    np.testing.assert_allclose(found, theirs, atol=1e-5)


def test_what_gives_no_features_of_a_picture_is_said(tmp_path: Path) -> None:
    from transformers import CLIPConfig, CLIPModel

    with pytest.raises(WeightsError, match=r"there is no vision model in .*nowhere; expected is a folder with"):
        load_vision(tmp_path / "nowhere")
    common = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**common, "vocab_size": 600, "max_position_embeddings": 8}
    config = CLIPConfig(text_config=text, vision_config={**common, "image_size": 28, "patch_size": 14}, projection_dim=6)
    folder = save(tmp_path / "clip", CLIPModel(config))
    with pytest.raises(WeightsError, match=r"CLIPModel in .* gives no features of a picture alone .*; a CLIP model goes to --clip"):
        load_vision(folder)
