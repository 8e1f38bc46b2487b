"""LoRAs for few steps: recognised by name and layers together, and never by one of them alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from dreamlayer_jax import DreamLayer
from dreamlayer_jax.models.layered import become_layered

LCM = ("lcm", 4, 1.0, "leading")
TCD = ("tcd", 4, 1.0, "leading")
AS_BEFORE = ("ddim", 50, 7.5, "leading")


@pytest.fixture(scope="module")
def distilled(plain_model, few_step_lora) -> dict[str, np.ndarray]:
    """A change, of rank 1, of everything that such a file changes."""
    return {key: np.full(shape, 0.01, np.float32) for key, shape in few_step_lora(plain_model.config).items()}


@pytest.fixture(scope="module")
def model(plain_model) -> DreamLayer:
    return DreamLayer(config=plain_model.config, params=become_layered(plain_model.config, plain_model.params), tokenizer=None)


def sampling(config: Any) -> tuple[str, int, float, str]:
    return config.sampler, config.steps, config.guidance, config.schedule.timestep_spacing


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lcm-lora-sdv1-5.safetensors", LCM),
        ("models--latent-consistency--lcm-lora-sdv1-5/snapshots/0123/pytorch_lora_weights.safetensors", LCM),
        ("LCM_LoRA_Weights_SD15.safetensors", LCM),
        ("TCD-SD15-LoRA/pytorch_lora_weights.safetensors", TCD),
        ("Hyper-SD15-1step-lora.safetensors", ("tcd", 1, 1.0, "leading")),
        ("Hyper-SD15-4steps-lora.safetensors", ("ddim", 4, 1.0, "trailing")),
        ("Hyper-SD15-12steps-CFG-lora.safetensors", ("ddim", 12, 6.0, "trailing")),
    ],
)
def test_recognised(model, distilled, tmp_path: Path, name: str, expected: tuple) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    save_file(distilled, tmp_path / name)
    said: list[str] = []
    new = model.with_lora(tmp_path / name, on_warning=said.append)
    assert sampling(new.config) == expected
    assert said == []
    assert sampling(model.config) == AS_BEFORE


@pytest.mark.parametrize(
    ("name", "whole", "doubt"),
    [
        ("style.safetensors", True, "its name does not say which it is: sampling stays as it is. Give --sampler"),
        ("lcm-lora.safetensors", False, "is called an LCM-LoRA, and changes 1 layers instead of the "),
        ("calcmodel.safetensors", False, None),
        ("style.safetensors", False, None),
    ],
)
def test_a_doubt_is_said_and_nothing_is_guessed(model, distilled, tmp_path: Path, name: str, whole: bool, doubt: str | None) -> None:
    save_file(distilled if whole else dict(list(distilled.items())[:3]), tmp_path / name)
    said: list[str] = []
    assert sampling(model.with_lora(tmp_path / name, on_warning=said.append).config) == AS_BEFORE
    assert len(said) == (doubt is not None)
    assert doubt is None or doubt in said[0]


def test_the_title_names_it_too(model, distilled, tmp_path: Path) -> None:
    save_file(distilled, tmp_path / "weights.safetensors", metadata={"modelspec.title": "LCM LoRA for SD 1.5"})
    assert sampling(model.with_lora(tmp_path / "weights.safetensors").config) == LCM
