"""Strict loading: what fits round-trips, what does not is named in the file's own words."""

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from dreamlayer_jax.config import VAEConfig
from dreamlayer_jax.models.vae import AutoencoderKL
from dreamlayer_jax.weights.files.convert import from_params, load_safetensors, to_params
from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.files.names import LEGACY_ATTENTION

CONFIG = VAEConfig(block_out_channels=(8,), layers_per_block=1, norm_num_groups=2)


@pytest.fixture(scope="module")
def expected():
    return jax.eval_shape(AutoencoderKL(CONFIG).init, jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32))["params"]


@pytest.fixture(scope="module")
def params(expected):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), expected)


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_round_trip_through_a_file(params, expected, tmp_path):
    save_file(from_params(params), tmp_path / "vae.safetensors")
    assert_same(to_params(load_safetensors(tmp_path / "vae.safetensors"), expected), params)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_files_become_float32(params, expected, tmp_path, dtype):
    save_file({key: tensor.astype(dtype) for key, tensor in from_params(params).items()}, tmp_path / "vae.safetensors")
    loaded = to_params(load_safetensors(tmp_path / "vae.safetensors"), expected)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(loaded))
    assert_same(loaded, jax.tree.map(lambda leaf: leaf.astype(dtype).astype(np.float32), params))
    kept = to_params(load_safetensors(tmp_path / "vae.safetensors"), expected, dtype=None)
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(kept))


def test_older_attention_names(params, expected):
    new_to_old = {f".{new}.": f".{old}." for old, new in LEGACY_ATTENTION.items()}
    tensors = {}
    for key, tensor in from_params(params).items():
        for new, old in new_to_old.items():
            key = key.replace(new, old)
        tensors[key] = tensor
    assert "decoder.mid_block.attentions.0.proj_attn.weight" in tensors
    assert_same(to_params(tensors, expected), params)


def test_one_error_names_everything_that_does_not_fit(params, expected):
    tensors = from_params(params)
    del tensors["quant_conv.bias"]
    del tensors["encoder.mid_block.attentions.0.to_out.0.weight"]
    tensors["encoder.mid_block.attentions.0.query.weight"] = tensors.pop("encoder.mid_block.attentions.0.to_q.weight")[:, :3]
    tensors["loss.logvar"] = np.zeros(3, np.float32)
    with pytest.raises(WeightsError) as caught:
        to_params(tensors, expected)
    assert str(caught.value).splitlines()[1:] == [
        "missing from the file (2):",
        "  encoder.mid_block.attentions.0.to_out.0.weight",
        "  quant_conv.bias",
        "in the file, not used by the model (1):",
        "  loss.logvar",
        "in the file, of another shape (1):",
        "  encoder.mid_block.attentions.0.query.weight: the file has (8, 3), the model (8, 8)",
    ]


def test_a_parameter_given_under_both_names_is_an_error(params, expected):
    tensors = from_params(params)
    tensors["encoder.mid_block.attentions.0.query.weight"] = tensors["encoder.mid_block.attentions.0.to_q.weight"]
    with pytest.raises(WeightsError, match=r"in the file, not used by the model \(1\):\n  encoder.mid_block.attentions.0.query.weight"):
        to_params(tensors, expected)


def test_a_missing_file_and_a_damaged_one(params, tmp_path):
    file = tmp_path / "vae.safetensors"
    with pytest.raises(WeightsError, match=r"there is no weight file .*vae\.safetensors"):
        load_safetensors(file)
    save_file(from_params(params), file)
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(WeightsError, match=r"vae\.safetensors is not a whole safetensors file"):
        load_safetensors(file)
