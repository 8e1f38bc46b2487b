"""What was trained, saved alone and laid over its base again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from dreamlayer_jax import DreamLayer
from dreamlayer_jax.config import sd15
from dreamlayer_jax.models.init import param_shapes
from dreamlayer_jax.models.layered import BASE, is_added, is_trained, select
from dreamlayer_jax.weights.files.errors import WeightsError


@pytest.fixture(scope="module")
def model(plain_model) -> DreamLayer:
    """A loaded model whose trainable parameters have moved."""
    loaded = DreamLayer.from_pretrained(plain_model.folder)
    moved = {path: np.asarray(leaf) + 0.5 * is_trained(path) for path, leaf in flatten_dict(loaded.params).items()}
    return dataclasses.replace(loaded, params=unflatten_dict(moved))


def test_round_trip_over_the_base(model, plain_model, tmp_path: Path) -> None:
    model.save_trained(tmp_path / "trained")
    assert sorted(path.name for path in (tmp_path / "trained").iterdir()) == ["config.json", "manifest.json", "trained.safetensors"]
    again = DreamLayer.from_pretrained(plain_model.folder, trained=tmp_path / "trained")
    assert again.config == model.config
    jax.tree.map(np.testing.assert_array_equal, again.params, model.params)


def test_the_layered_configuration_comes_with_it(model, plain_model, tmp_path: Path) -> None:
    layered = dataclasses.replace(model.config.layered, context_map=False, guided=False)
    without = select(model.params, lambda path: path[:2] != ("unet", "context_maps"))
    dataclasses.replace(model, config=dataclasses.replace(model.config, layered=layered), params=without).save_trained(tmp_path / "trained")
    again = DreamLayer.from_pretrained(plain_model.folder, trained=tmp_path / "trained")
    assert again.config.layered == layered
    assert "context_maps" not in again.params["unet"]


def test_the_whole_model_saved_and_its_base_exported(model, plain_model, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "ours")
    again = DreamLayer.from_pretrained(tmp_path / "ours")
    assert again.config == model.config
    assert again.tokenizer("a red dog")["input_ids"] == model.tokenizer("a red dog")["input_ids"]
    jax.tree.map(np.testing.assert_array_equal, again.params, model.params)

    again.export_diffusers(tmp_path / "theirs")
    base = DreamLayer.from_pretrained(tmp_path / "theirs").params
    jax.tree.map(np.testing.assert_array_equal, select(base, lambda p: not is_added(p)), select(model.params, lambda p: not is_added(p)))


def test_damage_and_another_base_are_named(model, plain_model, tmp_path: Path) -> None:
    model.save_trained(tmp_path / "trained")
    with pytest.raises(WeightsError, match=r"holds a trained part, not a model; .* from_pretrained\(base, trained=folder\)"):
        DreamLayer.from_pretrained(tmp_path / "trained")
    with pytest.raises(WeightsError, match="was trained on another base: its unet is"):
        DreamLayer.from_pretrained("pocket", trained=tmp_path / "trained")
    file = tmp_path / "trained" / "trained.safetensors"
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"trained\.safetensors is damaged: its checksum is not the manifest's"):
        DreamLayer.from_pretrained(plain_model.folder, trained=tmp_path / "trained")


def test_it_is_about_a_tenth_of_the_whole_at_full_size() -> None:
    size = {path: leaf.size for path, leaf in flatten_dict(param_shapes(sd15(), (*BASE, "layer_assign"))).items()}
    part = sum(size[path] for path in size if is_trained(path)) / sum(size.values())
    assert 0.05 < part < 0.15
