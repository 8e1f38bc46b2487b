"""Hub ids: what is asked for is what the loaders read, and an answer that is no answer is one error."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.where import find_model, model_name

REPOSITORY = {  # of Stable Diffusion 1.5: whether the file is needed
    "model_index.json": True,
    "unet/config.json": True,
    "unet/diffusion_pytorch_model.safetensors": True,
    "vae/diffusion_pytorch_model.safetensors": True,
    "text_encoder/model.safetensors": True,
    "tokenizer/vocab.json": True,
    "tokenizer/merges.txt": True,
    "scheduler/scheduler_config.json": True,
    "unet/diffusion_pytorch_model.bin": False,
    "unet/diffusion_pytorch_model.fp16.safetensors": False,
    "unet/diffusion_pytorch_model.non_ema.safetensors": False,
    "safety_checker/model.safetensors": False,
    "v1-5-pruned.safetensors": False,
    "v1-5-pruned.ckpt": False,
}


def test_a_hub_id_fetches_what_is_needed_and_no_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda hub_id, **patterns: asked.update(patterns, hub_id=hub_id) or tmp_path)
    assert find_model("owner/name") == tmp_path
    assert asked["hub_id"] == "owner/name"
    for name, needed in REPOSITORY.items():
        matches = {kind: any(fnmatch(name, pattern) for pattern in asked[f"{kind}_patterns"]) for kind in ("allow", "ignore")}
        assert (matches["allow"] and not matches["ignore"]) == needed, name


def test_offline_it_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        WeightsError, match=r"there is no model folder owner/name: .* the Hugging Face hub's owner/name cannot be fetched: "
    ):
        find_model("owner/name")
    with pytest.raises(
        WeightsError, match=r"there is no model folder \./some/where/deep: give a model's folder or file, or one of pocket$"
    ):
        find_model("./some/where/deep")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("hub/models--owner--name/snapshots/0123abc", "owner/name"),
        ("models/v1-5-pruned.safetensors", "v1-5-pruned"),
        ("models/stable-diffusion-v1-5", "stable-diffusion-v1-5"),
    ],
)
def test_names(path: str, name: str) -> None:
    assert model_name(Path(path)) == name
