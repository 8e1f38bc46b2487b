"""The layer decoder against the same network put together from diffusers' blocks (PyTorch).

Its ensemble is compared with PyTorch's rot90, flip and median.
"""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers.models.unets import unet_2d_blocks as blocks
from safetensors.torch import save_file

from dreamlayer_jax.config import LayerDecoderConfig
from dreamlayer_jax.models.layer_decoder import LayerDecoder, ensemble
from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.formats.layer_decoder_file import load_layer_decoder

CASES = {
    "the published pattern, rectangular": (
        LayerDecoderConfig(block_out_channels=(8, 8, 16, 16, 24, 16, 8)),
        (64, 128),
    ),
    "four blocks, odd widths": (
        LayerDecoderConfig(
            latent_channels=5,
            block_out_channels=(5, 10, 15, 30),
            attention=(False, True, False, True),
            layers_per_block=1,
            attention_head_dim=5,
            norm_num_groups=5,
        ),
        (16, 8),
    ),
    "attention in the middle only": (
        LayerDecoderConfig(
            block_out_channels=(4, 8, 12, 16), attention=(False,) * 4, layers_per_block=1, attention_head_dim=4, norm_num_groups=2
        ),
        (24, 32),
    ),
}


class Reference(torch.nn.Module):
    """UNet1024 of LayerDiffusion, its forward pass written out again."""

    def __init__(self, config: LayerDecoderConfig) -> None:
        super().__init__()
        widths, layers, last = config.block_out_channels, config.layers_per_block, len(config.block_out_channels) - 1
        common = {"temb_channels": None, "resnet_eps": 1e-5, "resnet_act_fn": "silu", "resnet_groups": config.norm_num_groups}

        def down(i):
            shape = {"in_channels": widths[max(i - 1, 0)], "out_channels": widths[i], "num_layers": layers} | common
            if config.attention[i]:
                kind = None if i == last else "conv"
                return blocks.AttnDownBlock2D(attention_head_dim=config.attention_head_dim, downsample_type=kind, **shape)
            return blocks.DownBlock2D(add_downsample=i < last, **shape)

        def up(i):
            shape = {"in_channels": widths[max(i - 1, 0)], "out_channels": widths[i], "num_layers": layers + 1} | common
            shape["prev_output_channel"] = widths[min(i + 1, last)]
            if config.attention[i]:
                kind = None if i == 0 else "conv"
                return blocks.AttnUpBlock2D(attention_head_dim=config.attention_head_dim, upsample_type=kind, **shape)
            return blocks.UpBlock2D(add_upsample=i > 0, **shape)

        self.layers = layers
        self.conv_in = torch.nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.latent_conv_in = torch.nn.Conv2d(config.latent_channels, widths[2], 1)
        self.down_blocks = torch.nn.ModuleList([down(i) for i in range(last + 1)])
        self.mid_block = blocks.UNetMidBlock2D(in_channels=widths[-1], attention_head_dim=config.attention_head_dim, **common)
        self.up_blocks = torch.nn.ModuleList([up(i) for i in reversed(range(last + 1))])
        self.conv_norm_out = torch.nn.GroupNorm(config.norm_num_groups, widths[0], eps=1e-5)
        self.conv_out = torch.nn.Conv2d(widths[0], config.out_channels, 3, padding=1)

    def forward(self, picture, latent):
        x = self.conv_in(picture)
        skips = (x,)
        for i, block in enumerate(self.down_blocks):
            if i == 3:
                x = x + self.latent_conv_in(latent)
            x, more = block(x)
            skips += more
        x = self.mid_block(x)
        for block in self.up_blocks:
            taken, skips = skips[-(self.layers + 1) :], skips[: -(self.layers + 1)]
            x = block(x, taken)
        return self.conv_out(torch.nn.functional.silu(self.conv_norm_out(x)))


@pytest.mark.parametrize("case", CASES)
def test_output(case, tmp_path, randomise, load, run, relative_error, draw, nhwc):
    config, (height, width) = CASES[case]
    reference = randomise(Reference(config))
    save_file(reference.state_dict(), tmp_path / "decoder.safetensors")
    picture, latent = draw(2, 3, height, width), draw(2, config.latent_channels, height // 8, width // 8)
    with torch.no_grad():
        expected = reference(picture, latent)

    decoder = LayerDecoder(config)
    inputs = nhwc(picture), nhwc(latent)
    params = load(tmp_path, decoder, *inputs)
    assert relative_error(run(decoder.apply, {"params": params}, *inputs), expected) <= 1e-4


def test_a_half_precision_file_says_its_own_configuration(tmp_path, randomise, run, relative_error, draw, nhwc):
    config, _ = CASES["the published pattern, rectangular"]
    reference = randomise(Reference(config)).half().float()
    save_file({key: tensor.half() for key, tensor in reference.state_dict().items()}, tmp_path / "decoder.safetensors")
    found, params = load_layer_decoder(tmp_path / "decoder.safetensors")
    assert found == config
    picture, latent = draw(1, 3, 64, 64), draw(1, 4, 8, 8)
    with torch.no_grad():
        expected = reference(picture, latent)
    assert relative_error(run(LayerDecoder(found).apply, {"params": params}, nhwc(picture), nhwc(latent)), expected) <= 1e-4

    tensors = reference.state_dict()
    del tensors["up_blocks.2.resnets.1.conv1.bias"]
    save_file(tensors, tmp_path / "decoder.safetensors")
    with pytest.raises(WeightsError, match=r"missing from decoder\.safetensors \(1\):\n  up_blocks\.2\.resnets\.1\.conv1\.bias"):
        load_layer_decoder(tmp_path / "decoder.safetensors")
    save_file({"unet.attn.to_k.lora_A.weight": torch.zeros(2)}, tmp_path / "decoder.safetensors")
    with pytest.raises(WeightsError, match=r"is not a layer decoder of LayerDiffusion, .*: this is a LoRA"):
        load_layer_decoder(tmp_path / "decoder.safetensors")


@pytest.mark.parametrize("shape", [(16, 16), (16, 24)])
def test_ensemble(shape, run, draw, nhwc):
    """A stand-in network that sees where a pixel is, so that every view answers differently."""
    picture, latent = draw(2, 3, *shape), draw(2, 5, shape[0] // 8, shape[1] // 8)

    def decode(x, z, arange, concatenate):
        """Works on NHWC arrays of either library."""
        ramp = arange(x.shape[1])[None, :, None, None] * 0.05 - arange(x.shape[2])[None, None, :, None] * 0.02
        coarse = z.mean(axis=(1, 2, 3)).reshape(-1, 1, 1, 1) + z[:, :1, :1, :1]
        return concatenate([x * ramp + coarse, x[..., :1] * coarse + ramp], -1)

    views = []
    for flip in (False, True):
        for turn in range(4):
            x, z = ((part.flip(3) if flip else part).rot90(turn, (2, 3)).permute(0, 2, 3, 1) for part in (picture, latent))
            out = decode(x, z, torch.arange, torch.cat).clip(0, 1).permute(0, 3, 1, 2).rot90(-turn, (2, 3))
            views.append(out.flip(3) if flip else out)
    expected = torch.stack(views).median(dim=0).values

    def ours(x, z):
        return ensemble(lambda x, z: decode(x, z, jnp.arange, jnp.concatenate), x, z)

    np.testing.assert_allclose(run(ours, nhwc(picture), nhwc(latent)), nhwc(expected), atol=1e-6)
