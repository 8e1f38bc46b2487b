"""The autoencoder's start from principal components."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamlayer_jax.config import VAEConfig
from dreamlayer_jax.models.vae import AutoencoderKL
from train.autoencoder import Autoencoder, start_from_components
from train.configs.pocket import PocketTraining
from train.images import ImageSource
from train.scene_cache import open_scene_cache

CONFIG = VAEConfig(
    latent_channels=12,
    block_out_channels=(8,),
    layers_per_block=1,
    norm_num_groups=4,
    patch_size=8,
    mid_block_add_attention=False,
    linear_path=True,
)


@pytest.fixture(scope="module")
def linear_stage(tiny_training: PocketTraining, trained_workdir: Path) -> Autoencoder:
    return dataclasses.replace(tiny_training.autoencoder(trained_workdir), model=dataclasses.replace(tiny_training.model, vae=CONFIG))


def test_it_starts_as_the_best_linear_code(linear_stage: Autoencoder) -> None:
    """Eckart and Young: no linear code of 12 numbers loses less than the singular values from the 13th on."""
    source = ImageSource(open_scene_cache(linear_stage.scenes, linear_stage.workdir / "scenes"))
    pictures = np.stack([source[n]["rgb"] for n in range(len(source))])
    patches = (pictures.astype(np.float32) / 127.5 - 1).reshape(-1, 2, 8, 2, 8, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 192)
    least = np.square(np.linalg.svd(patches, compute_uv=False)[12:]).sum() / patches.size
    params = linear_stage.init(jax.random.key(0))
    rebuilt, mean, logvar = jax.jit(AutoencoderKL(CONFIG).apply)({"params": params["vae"]}, pictures.astype(np.float32) / 127.5 - 1)
    np.testing.assert_allclose(np.square(rebuilt - (pictures.astype(np.float32) / 127.5 - 1)).mean(), least, rtol=1e-3)
    spread = np.square(mean).mean((0, 1, 2))
    assert (np.diff(spread) <= 1e-6).all()  # components keep their size, largest first
    assert (logvar == -8).all()
    grey = jnp.zeros((1, 8, 8, 3))
    assert (AutoencoderKL(CONFIG).apply({"params": params["vae"]}, grey, method="encode")[0] == 0).all()


def test_the_start_is_the_same_in_any_order_of_summation() -> None:
    """Bit for bit, also of directions that none of the pictures has: four patches span four of the twelve."""
    pictures = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    fresh = {"quant_conv": {"kernel": jnp.ones((1, 1, 24, 24))}, "decoder": {"conv_out": jnp.ones(())}}
    orders = [pictures, pictures[::-1], pictures[[2, 0, 3, 1]]]
    one, *others = [start_from_components(CONFIG, fresh, pictures)["linear_encode"]["kernel"] for pictures in orders]
    assert all(np.array_equal(one, other) for other in others)
    np.testing.assert_allclose(one.T @ one, np.eye(12), atol=1e-6)


def test_the_components_stay_and_the_convolutions_learn(linear_stage: Autoencoder) -> None:
    params = linear_stage.init(jax.random.key(0))
    batch = next(iter(linear_stage.dataset()))
    grads = jax.jit(jax.grad(lambda p: linear_stage.loss(p, batch, jax.random.key(1), 0)[0]))(params)["vae"]
    assert not any(np.any(grads[name]["kernel"]) for name in ("linear_encode", "linear_decode"))
    assert np.any(grads["quant_conv"]["kernel"])
    assert np.any(grads["decoder"]["conv_out"]["kernel"])


def test_more_numbers_than_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="13 latent channels for patches of 12 numbers; give at most 12"):
        start_from_components(
            VAEConfig(latent_channels=13, block_out_channels=(8,), norm_num_groups=4, patch_size=2), {}, np.zeros((1, 4, 4, 3), np.uint8)
        )
