"""UNet2DConditionModel against diffusers (PyTorch), on random weights that diffusers saved."""

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel as Reference

from dreamlayer_jax.config import UNetConfig
from dreamlayer_jax.models.unet import UNet2DCondition

CASES = {
    "Stable Diffusion in small, rectangular": (
        UNetConfig(
            block_out_channels=(16, 24, 32),
            cross_attention=(True, True, False),
            num_attention_heads=4,
            cross_attention_dim=20,
            norm_num_groups=8,
        ),
        (8, 12),
    ),
    "linear projections, heads by level, no attention at the finest": (
        UNetConfig(
            in_channels=5,
            out_channels=3,
            block_out_channels=(20, 30),
            cross_attention=(False, True),
            layers_per_block=1,
            transformer_layers_per_block=2,
            num_attention_heads=(2, 3),
            cross_attention_dim=7,
            norm_num_groups=5,
            use_linear_projection=True,
        ),
        (6, 4),
    ),
    "one level": (
        UNetConfig(
            block_out_channels=(18,),
            cross_attention=(True,),
            layers_per_block=1,
            num_attention_heads=1,
            cross_attention_dim=18,
            norm_num_groups=3,
        ),
        (5, 7),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_prediction(case, tmp_path, randomise, load, run, relative_error, draw, nhwc):
    config, (height, width) = CASES[case]
    attended = config.cross_attention
    reference = Reference(
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        block_out_channels=config.block_out_channels,
        down_block_types=tuple("CrossAttnDownBlock2D" if cross else "DownBlock2D" for cross in attended),
        up_block_types=tuple("CrossAttnUpBlock2D" if cross else "UpBlock2D" for cross in reversed(attended)),
        layers_per_block=config.layers_per_block,
        transformer_layers_per_block=config.transformer_layers_per_block,
        attention_head_dim=config.num_attention_heads,
        cross_attention_dim=config.cross_attention_dim,
        norm_num_groups=config.norm_num_groups,
        use_linear_projection=config.use_linear_projection,
    )
    randomise(reference).save_pretrained(tmp_path)

    sample, prompt, t = draw(2, config.in_channels, height, width), draw(2, 9, config.cross_attention_dim), np.array([981, 7])
    with torch.no_grad():
        expected = reference(sample, torch.from_numpy(t), prompt).sample

    unet = UNet2DCondition(config)
    inputs = nhwc(sample), t.astype(np.int32), prompt.numpy()
    params = load(tmp_path, unet, *inputs)
    assert relative_error(run(unet.apply, {"params": params}, *inputs).sample, expected) <= 1e-4
