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


@pytest.mark.parametrize(("name", "older"), [("fuse", "lays"), ("t_h", "start"), ("t_h_end", "end")])
def test_a_fields_older_name_is_read(name: str, older: str) -> None:
    """Of models saved before the rename, the shipped one among them; both names at once are one too many."""
    tree = json.loads(to_json(pocket()))
    value = tree["harmonize"].pop(name)
    tree["harmonize"][older] = value
    assert from_json(json.dumps(tree)) == pocket()
    tree["harmonize"][name] = value
    with pytest.raises(ValueError, match=older):
        from_json(json.dumps(tree))


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
        ("{", "file is not JSON"),
        ("[" * 10_000, "recursion limit exceeded"),
        ("[]", r"file is \[\]; input should be an object"),
        (altered(("vae", "scale"), 1.0), "file: vae.scale is an unknown field. Was it written by another version?"),
        (altered(("vae", "patch_size"), "4"), "file: vae.patch_size is '4'; input should be a valid integer"),
        (altered(("vae", "patch_size"), 1.5), "file: vae.patch_size is 1.5; input should be a valid integer"),
        (altered(("vae", "scaling_factor"), float("nan")), "file: vae: scaling_factor is nan; give a finite number"),
        (altered(("vae", "scaling_factor"), 0), "scaling_factor is 0; latents are divided by it"),
        (altered(("vae", "mid_block_add_attention"), 0), "input should be a valid boolean"),
        (
            altered(("schedule", "prediction_type"), "noise"),
            "prediction_type is 'noise'; input should be 'epsilon'",
        ),
        (altered(("schedule", "beta_end"), 2.0), "give 0 < start <= end < 1"),
        (altered(("unet", "num_attention_heads"), 7), "file: unet: .* channels do not divide into 7"),
        (altered(("unet", "num_attention_heads"), 0), "file: unet: num_attention_heads is 0; give 1 to"),
        (altered(("unet", "num_attention_heads"), [4]), "one number, or one a block"),
        (altered(("unet", "norm_num_groups"), -1), "file: unet: norm_num_groups is -1; give 1 to"),
        (altered(("unet", "layers_per_block"), 2**31), "file: unet: layers_per_block is 2147483648; give 1 to 32"),
        (altered(("unet", "layers_per_block"), 10**400), "file: unet"),
        (altered(("unet", "block_out_channels"), []), "block_out_channels has 0 entries; give 1 to 16"),
        (altered(("vae", "norm_num_groups"), 7), "file: vae: 96 channels do not divide into 7 groups"),
        (altered(("vae", "patch_size"), 0), "file: vae: patch_size is 0; give 1 to 64"),
        (altered(("text", "num_hidden_layers"), 5000), "file: text: num_hidden_layers is 5000; give 1 to 128"),
        (altered(("text", "num_attention_heads"), 3), "hidden_size 128 does not divide into 3 attention heads"),
        (altered(("layer_decoder", "attention"), [True]), "attention has 1 entries for 4 blocks"),
        (altered(("layered", "context_layers"), 10**7), "file: layered: context_layers is 10000000; give 0 to 32"),
        (altered(("layered", "context_block"), 1), "come from a block with cross-attention"),
        ('{"name": "x"}', "file is damaged: it lacks 'sample_size'"),
    ],
)
def test_errors_name_the_place(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_json(text, "file")
