"""GroupNorm against PyTorch in float64, where it is hard: states whose mean is a hundred times their spread, as in trained autoencoders."""

import torch

from dreamlayer_jax.models.resnet import group_norm


def test_group_norm_far_from_zero(draw, nhwc, relative_error):
    x = draw(2, 12, 9, 7) + 100
    scale, bias = draw(12, seed=2), draw(12, seed=3)
    expected = torch.nn.functional.group_norm(x.double(), 3, scale.double(), bias.double(), eps=1e-6)
    ours = group_norm(3, 1e-6, "norm").apply({"params": {"scale": scale.numpy(), "bias": bias.numpy()}}, nhwc(x))
    assert relative_error(ours, expected) <= 1e-4
