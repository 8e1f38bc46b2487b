"""CLIP's text tower against transformers (PyTorch), on random weights that transformers saved."""

import jax
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from transformers import CLIPTextConfig
from transformers import CLIPTextModel as Reference

from dreamlayer_jax.config import TextConfig
from dreamlayer_jax.models.text_encoder import CLIPTextModel
from dreamlayer_jax.weights.files.convert import from_params

CASES = {
    "two layers, quick_gelu": (
        TextConfig(
            vocab_size=60, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=16
        ),
        16,
    ),
    "three layers, gelu, odd widths, short prompt": (
        TextConfig(
            vocab_size=31,
            hidden_size=21,
            intermediate_size=35,
            num_hidden_layers=3,
            num_attention_heads=3,
            max_position_embeddings=11,
            hidden_act="gelu",
            layer_norm_eps=1e-3,
        ),
        7,
    ),
    "one layer, one head": (
        TextConfig(
            vocab_size=9, hidden_size=10, intermediate_size=5, num_hidden_layers=1, num_attention_heads=1, max_position_embeddings=5
        ),
        3,
    ),
}


def reference_of(config: TextConfig) -> Reference:
    return Reference(
        CLIPTextConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            max_position_embeddings=config.max_position_embeddings,
            hidden_act=config.hidden_act,
            layer_norm_eps=config.layer_norm_eps,
            bos_token_id=0,
            eos_token_id=1,
        )
    )


@pytest.mark.parametrize("case", CASES)
def test_last_hidden_state(case, tmp_path, randomise, load, run, relative_error):
    config, tokens = CASES[case]
    reference = randomise(reference_of(config))
    reference.save_pretrained(tmp_path)
    ids = np.random.default_rng(0).integers(0, config.vocab_size, (2, tokens)).astype(np.int32)
    with torch.no_grad():
        expected = reference(torch.from_numpy(ids).long()).last_hidden_state

    tower = CLIPTextModel(config)
    ours = run(tower.apply, {"params": load(tmp_path, tower, ids)}, ids)
    assert relative_error(ours, expected) <= 1e-4


def test_transformers_reads_what_we_write(tmp_path, run, relative_error):
    config, tokens = CASES["one layer, one head"]
    tower = CLIPTextModel(config)
    ids = np.random.default_rng(0).integers(0, config.vocab_size, (2, tokens)).astype(np.int32)
    params = run(tower.init, jax.random.key(0), ids)
    reference_of(config).save_pretrained(tmp_path)
    save_file(from_params(params["params"]), tmp_path / "model.safetensors", metadata={"format": "pt"})

    reference, info = Reference.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    with torch.no_grad():
        expected = reference(torch.from_numpy(ids).long()).last_hidden_state
    assert relative_error(run(tower.apply, params, ids), expected) <= 1e-4
