"""Laws of the autoencoder that need no reference."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamlayer_jax.config import VAEConfig
from dreamlayer_jax.models.vae import AutoencoderKL

CONFIG = VAEConfig(block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=2, patch_size=2)
PICTURE = np.random.default_rng(1).normal(size=(2, 8, 12, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(AutoencoderKL(CONFIG).init, jax.random.key(0), PICTURE)
    return jax.tree.map(lambda leaf: 0.2 * rng.normal(size=leaf.shape).astype(np.float32), shapes)


def encode(params, dtype=jnp.float32):
    return jax.jit(lambda p: AutoencoderKL(CONFIG, dtype=dtype).apply(p, PICTURE, method="encode"))(params)


def test_log_variance_is_clipped(params):
    wild = jax.tree.map(lambda leaf: leaf, params)
    wild["params"]["quant_conv"]["kernel"] = 1e6 * params["params"]["quant_conv"]["kernel"]
    mean, logvar = encode(wild)
    assert mean.shape == logvar.shape == (2, 2, 3, 4)
    assert (logvar.min(), logvar.max()) == (-30, 20)
    assert np.abs(mean).max() > 30


def test_bfloat16_stays_near_float32(params):
    exact, rounded = encode(params)[0], encode(params, jnp.bfloat16)[0]
    error = np.abs(exact - rounded).max() / np.abs(exact).max()
    assert 0 < error < 0.05


def test_a_picture_of_another_side_is_refused(params):
    with pytest.raises(ValueError, match="8x10 pixels; both sides must be multiples of 4"):
        jax.eval_shape(AutoencoderKL(CONFIG).apply, params, jnp.zeros((1, 8, 10, 3)))


def test_the_linear_path_is_added_and_old_parameters_do_not_know_it(params):
    config = dataclasses.replace(CONFIG, linear_path=True)
    rng = np.random.default_rng(2)
    shapes = jax.eval_shape(AutoencoderKL(config).init, jax.random.key(0), PICTURE)["params"]
    assert set(shapes) - set(params["params"]) == {"linear_encode", "linear_decode"}
    linear = {
        name: {"kernel": rng.normal(size=shapes[name]["kernel"].shape).astype(np.float32)} for name in ("linear_encode", "linear_decode")
    }
    both = {"params": params["params"] | linear}

    def run(config, params, x, method):
        return jax.jit(lambda p, x: AutoencoderKL(config).apply(p, x, method=method))(params, x)

    (mean, logvar), (plain, plain_logvar) = run(config, both, PICTURE, "encode"), run(CONFIG, params, PICTURE, "encode")
    patch = PICTURE[1, 4:8, 8:12].transpose(2, 0, 1).reshape(-1)  # the pixels of latent (1, 2), channel by channel
    np.testing.assert_allclose((mean - plain)[1, 1, 2], patch @ linear["linear_encode"]["kernel"], rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(logvar, plain_logvar)
    added = run(config, both, plain, "decode") - run(CONFIG, params, plain, "decode")
    pixels = (plain[1, 1, 2] @ linear["linear_decode"]["kernel"]).reshape(3, 4, 4).transpose(1, 2, 0)
    np.testing.assert_allclose(added[1, 4:8, 8:12], pixels, rtol=1e-3, atol=1e-4)
