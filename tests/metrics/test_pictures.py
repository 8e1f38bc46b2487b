"""Figures of merit, by hand."""

import numpy as np
import pytest

from dreamlayer_jax.metrics.pictures import psnr, rgb_l1, soft_iou, ssim


def test_psnr_counts_where_the_weight_is():
    a, b = np.zeros((2, 2, 3)), np.zeros((2, 2, 3))
    b[0] = 0.1
    assert psnr(a, b, np.array([[1, 1], [0, 0]])[..., None]) == pytest.approx(20)
    assert psnr(a, b) == pytest.approx(20 + 10 * np.log10(2))
    assert np.isnan(psnr(a, b, np.zeros((2, 2, 1))))


def test_soft_iou():
    assert soft_iou(np.array([[1.0, 0.5]]), np.array([[0.5, 0.5]])) == pytest.approx(1 / 1.5)
    assert soft_iou(np.zeros((2, 2)), np.zeros((2, 2))) == 1
    assert soft_iou(np.ones((2, 2)), np.zeros((2, 2))) == 0


def test_colour_counts_by_the_true_alpha():
    true = np.zeros((1, 2, 4))
    true[0, 0, 3] = 0.5
    found = np.full((1, 2, 3), 0.2)
    assert rgb_l1(found, true) == pytest.approx(0.2)
    found[0, 1] = 1.0
    assert rgb_l1(found, true) == pytest.approx(0.2)
    assert np.isnan(rgb_l1(found, np.zeros((1, 2, 4))))


def test_ssim_is_one_for_the_same_picture_and_falls_with_noise():
    rng = np.random.default_rng(0)
    picture = rng.uniform(size=(32, 32, 3))
    assert ssim(picture, picture) == pytest.approx(1)
    little, much = (ssim(picture, np.clip(picture + s * rng.normal(size=picture.shape), 0, 1)) for s in (0.05, 0.5))
    assert 1 > little > 0.8 > much
