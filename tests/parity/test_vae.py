"""AutoencoderKL against diffusers (PyTorch), on random weights that diffusers saved."""

import pytest
import torch
from diffusers import AutoencoderKL as Reference

from dreamlayer_jax.config import VAEConfig
from dreamlayer_jax.models.vae import AutoencoderKL

CASES = {
    "two levels, rectangular": (VAEConfig(block_out_channels=(16, 32), norm_num_groups=8), (16, 24)),
    "odd widths": (VAEConfig(block_out_channels=(15, 10, 25), layers_per_block=1, norm_num_groups=5, latent_channels=3), (8, 12)),
    "one level, no attention": (VAEConfig(block_out_channels=(12,), norm_num_groups=3, mid_block_add_attention=False), (6, 5)),
    "patches": (VAEConfig(block_out_channels=(8, 12), layers_per_block=1, norm_num_groups=4, patch_size=3), (12, 18)),
}


@pytest.mark.parametrize("case", CASES)
def test_encode_and_decode(case, tmp_path, randomise, load, run, relative_error, draw, nhwc):
    config, (height, width) = CASES[case]
    levels = len(config.block_out_channels)
    reference = Reference(
        in_channels=3 * config.patch_size**2,
        out_channels=3 * config.patch_size**2,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        latent_channels=config.latent_channels,
        norm_num_groups=config.norm_num_groups,
        mid_block_add_attention=config.mid_block_add_attention,
    )
    randomise(reference).save_pretrained(tmp_path)

    picture = draw(2, 3, height, width)
    latent = draw(2, config.latent_channels, height // config.downscale, width // config.downscale)
    with torch.no_grad():
        posterior = reference.encode(torch.nn.functional.pixel_unshuffle(picture, config.patch_size)).latent_dist
        decoded = torch.nn.functional.pixel_shuffle(reference.decode(latent).sample, config.patch_size)

    vae = AutoencoderKL(config)
    params = {"params": load(tmp_path, vae, nhwc(picture))}
    mean, logvar = run(lambda p, x: vae.apply(p, x, method="encode"), params, nhwc(picture))
    ours = run(lambda p, z: vae.apply(p, z, method="decode"), params, nhwc(latent))
    assert relative_error(mean, posterior.mean) <= 1e-4
    assert relative_error(logvar, posterior.logvar) <= 1e-4
    assert relative_error(ours, decoded) <= 1e-4
