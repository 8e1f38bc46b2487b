"""The naming rule: spelled out where it is not obvious, and invertible over every parameter of the full-size networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from dreamlayer_jax.config import sd15
from dreamlayer_jax.models.layer_decoder import LayerDecoder
from dreamlayer_jax.models.text_encoder import CLIPTextModel
from dreamlayer_jax.models.unet import UNet2DCondition
from dreamlayer_jax.models.vae import AutoencoderKL
from dreamlayer_jax.weights.files.names import from_torch, key_of, modern_key, to_torch, torch_shape

EXAMPLES = {
    ("down_blocks_0", "resnets_1", "conv1", "kernel"): "down_blocks.0.resnets.1.conv1.weight",
    ("mid_block", "attentions_0", "transformer_blocks_0", "attn1", "to_out_0", "bias"): (
        "mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0.bias"
    ),
    ("up_blocks_10", "attentions_0", "transformer_blocks_0", "ff", "net_0", "proj", "kernel"): (
        "up_blocks.10.attentions.0.transformer_blocks.0.ff.net.0.proj.weight"
    ),
    ("time_embedding", "linear_1", "kernel"): "time_embedding.linear_1.weight",
    ("conv_norm_out", "scale"): "conv_norm_out.weight",
    ("text_model", "embeddings", "token_embedding", "embedding"): "text_model.embeddings.token_embedding.weight",
    ("text_model", "encoder", "layers_11", "self_attn", "q_proj", "bias"): "text_model.encoder.layers.11.self_attn.q_proj.bias",
    ("attn1", "to_k_foreground", "kernel"): "attn1.to_k_foreground.weight",
}


@pytest.mark.parametrize(("path", "key"), EXAMPLES.items())
def test_examples(path, key):
    assert key_of(path) == key


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("decoder.mid_block.attentions.0.query.weight", "decoder.mid_block.attentions.0.to_q.weight"),
        ("encoder.mid_block.attentions.0.proj_attn.bias", "encoder.mid_block.attentions.0.to_out.0.bias"),
        ("encoder.layers.3.mlp.fc1.weight", "text_model.encoder.layers.3.mlp.fc1.weight"),
        ("text_model.embeddings.position_ids", None),
        ("embeddings.position_ids", None),
        ("encoder.down_blocks.0.resnets.0.norm1.weight", "encoder.down_blocks.0.resnets.0.norm1.weight"),
    ],
)
def test_older_and_newer_spellings(written, read):
    assert modern_key(written) == read


def test_every_parameter_has_its_own_key_which_is_already_modern():
    c = sd15()
    ids, t = jnp.zeros((1, 4), jnp.int32), jnp.zeros((1,), jnp.int32)
    picture, latent, prompt = jnp.zeros((1, 64, 64, 3)), jnp.zeros((1, 8, 8, 4)), jnp.zeros((1, 4, 768))
    for module, inputs in (
        (UNet2DCondition(c.unet), (latent, t, prompt)),
        (AutoencoderKL(c.vae), (picture,)),
        (CLIPTextModel(c.text), (ids,)),
        (LayerDecoder(c.layer_decoder), (picture, latent)),
    ):
        paths = flatten_dict(jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"])
        keys = {key_of(path) for path in paths}
        assert len(keys) == len(paths)
        assert {modern_key(key) for key in keys} == keys


@pytest.mark.parametrize("shape", [(5, 7), (3, 2, 5, 7)])
def test_kernels_turn_round(shape):
    kernel = np.arange(np.prod(shape)).reshape(shape)
    tensor = to_torch(("conv", "kernel"), kernel)
    assert tensor.shape == torch_shape(("conv", "kernel"), shape) == (7, 5, *shape[:-2])
    assert tensor[(6, 4, *(n - 1 for n in shape[:-2]))] == kernel[(*(n - 1 for n in shape[:-2]), 4, 6)]
    np.testing.assert_array_equal(from_torch(("conv", "kernel"), tensor), kernel)


@pytest.mark.parametrize("leaf", ["scale", "bias", "embedding"])
def test_everything_else_keeps_its_layout(leaf):
    array = np.arange(6).reshape(2, 3)
    assert torch_shape(("a", leaf), (2, 3)) == (2, 3)
    np.testing.assert_array_equal(to_torch(("a", leaf), array), array)
    np.testing.assert_array_equal(from_torch(("a", leaf), array), array)
