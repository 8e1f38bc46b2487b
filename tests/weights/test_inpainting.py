"""Inpainting models: read from folders and single files where holes are to be filled, refused with what to do where layers are."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from dreamlayer_jax import DreamLayer
from dreamlayer_jax.models.layered import BASE, is_added, select
from dreamlayer_jax.request import RequestError
from dreamlayer_jax.stable_diffusion import load_plain, text_to_image
from dreamlayer_jax.weights.files.convert import from_params
from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.files.original_names import original_key


@pytest.fixture(scope="module")
def file(inpainting_model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model in the original layout."""
    tensors = {original_key(key, inpainting_model.config): tensor for key, tensor in from_params(inpainting_model.params).items()}
    path = tmp_path_factory.mktemp("single") / "sd-v1-5-inpainting.safetensors"
    save_file(tensors, path)
    return path


def test_a_folder_and_a_file_give_every_parameter(inpainting_model, plain_model, file) -> None:
    options = {"config": plain_model.config, "tokenizer": plain_model.folder / "tokenizer"}
    for model in (load_plain(inpainting_model.folder), load_plain(file, **options)):
        assert model.config.unet == inpainting_model.config.unet
        found = select(model.params, lambda path: path[0] in BASE and not is_added(path))
        jax.tree.map(np.testing.assert_array_equal, found, inpainting_model.params)


def test_layers_and_text_alone_are_refused_with_what_to_do(inpainting_model, plain_model, file) -> None:
    for source, options in ((inpainting_model.folder, {}), (file, {"config": plain_model.config})):
        with pytest.raises(WeightsError, match=r"an inpainting model: .* 9 channels .*--models.fill.*for layers take the plain model"):
            DreamLayer.from_pretrained(source, **options)
    with pytest.raises(RequestError, match=r"is an inpainting model, which fills holes .*take the plain model"):
        text_to_image(load_plain(inpainting_model.folder), ["a dog"])


def test_half_an_inpainting_model_is_told_by_its_keys(inpainting_model, plain_model, file, tmp_path: Path) -> None:
    tensors = {original_key(key, inpainting_model.config): tensor for key, tensor in from_params(inpainting_model.params).items()}
    del tensors["model.diffusion_model.out.2.bias"]
    save_file(tensors, tmp_path / "part.safetensors")
    with pytest.raises(WeightsError, match=r"missing from part.safetensors \(1\):\n  model.diffusion_model.out.2.bias"):
        load_plain(tmp_path / "part.safetensors", config=plain_model.config)
    assert dataclasses.replace(inpainting_model.config.unet, in_channels=4) == plain_model.config.unet
