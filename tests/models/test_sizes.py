"""Parameter counts at full size, by `jax.eval_shape`: no weights are made.

The golden numbers are `sum(p.numel() for p in network.parameters())` of diffusers 0.42.1's UNet2DConditionModel and AutoencoderKL,
transformers 5.23.0's CLIPTextModel, and the network of tests/parity/test_layer_decoder.py, made with the published configurations.
"""

import jax
import jax.numpy as jnp
import pytest

from dreamlayer_jax.config import DreamLayerConfig, pocket, sd15
from dreamlayer_jax.models.layer_decoder import LayerDecoder
from dreamlayer_jax.models.text_encoder import CLIPTextModel
from dreamlayer_jax.models.unet import UNet2DCondition
from dreamlayer_jax.models.vae import AutoencoderKL


def count(module, *inputs) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]))


def counts(c: DreamLayerConfig) -> dict[str, int]:
    side = c.sample_size // c.vae.downscale
    latent = jnp.zeros((1, side, side, c.vae.latent_channels))
    picture = jnp.zeros((1, c.sample_size, c.sample_size, 3))
    ids = jnp.zeros((1, c.text.max_position_embeddings), jnp.int32)
    prompt = jnp.zeros((*ids.shape, c.text.hidden_size))
    return {
        "unet": count(UNet2DCondition(c.unet), latent, jnp.zeros((1,), jnp.int32), prompt),
        "vae": count(AutoencoderKL(c.vae), picture),
        "text": count(CLIPTextModel(c.text), ids),
        "layer_decoder": count(LayerDecoder(c.layer_decoder), picture, latent),
    }


def test_stable_diffusion_and_layer_decoder():
    assert counts(sd15()) == {"unet": 859_520_964, "vae": 83_653_863, "text": 123_060_480, "layer_decoder": 104_104_804}


def test_the_shipped_model_is_small():
    assert sum(counts(pocket()).values()) < 10_000_000


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_parameters_and_outputs_are_float32_whatever_the_compute_dtype(dtype):
    c = pocket()
    vae = AutoencoderKL(c.vae, dtype=dtype)
    picture = jnp.zeros((2, 64, 64, 3))
    shapes = jax.eval_shape(vae.init, jax.random.key(0), picture)
    outputs = jax.eval_shape(vae.apply, shapes, picture)
    assert {leaf.dtype for leaf in jax.tree.leaves((shapes, outputs))} == {jnp.dtype(jnp.float32)}
