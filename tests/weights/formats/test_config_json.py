"""Configurations as JSON."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from dreamlayer_jax.config import DreamLayerConfig, pocket, sd15
from dreamlayer_jax.weights.formats.config_json import from_json, read_config, to_json, write_config


@pytest.mark.parametrize("config", [sd15(), pocket()], ids=lambda config: config.name)
def test_round_trip(config: DreamLayerConfig, tmp_path: Path) -> None:
    write_config(config, tmp_path / "config.json")
    assert read_config(tmp_path / "config.json") == config
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_heads_may_be_a_number_or_one_a_block() -> None:
    base = sd15()
    config = dataclasses.replace(base, unet=dataclasses.replace(base.unet, num_attention_heads=(8, 8, 8, 4)))
    assert from_json(to_json(config)) == config


def altered(path: tuple[str, ...], value: object) -> str:
    tree = json.loads(to_json(pocket()))
    inner = tree
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return json.dumps(tree)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "expected an object"),
        (altered(("vae", "scale"), 1.0), r"file: vae: unknown fields \['scale'\] for VAEConfig; known are"),
        (altered(("vae", "patch_size"), "4"), "file: vae: patch_size is '4'; expected int"),
        (altered(("vae", "mid_block_add_attention"), 0), "expected bool"),
        (altered(("schedule", "prediction_type"), "noise"), "prediction_type is 'noise'; expected"),
        (altered(("unet", "num_attention_heads"), 7), "file: unet: .* channels do not divide into 7"),
        ('{"name": "x"}', r"fields \['layer_decoder', 'sample_size', 'text', 'unet', 'vae'\] of DreamLayerConfig are missing"),
    ],
)
def test_errors_name_the_place(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_json(text, "file")
