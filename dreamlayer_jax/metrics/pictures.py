"""Agreement of two pictures, of two alphas, and of a decomposed layer with the true one."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Shaped

SMALLEST_RMSE = 255.0**-2  # a 255th of a byte: equal pictures get a finite figure


def psnr(a_01: Float[np.ndarray, "*n"], b_01: Float[np.ndarray, "*n"], weight: Shaped[np.ndarray, "*#n"] | None = None) -> float:
    """Peak signal-to-noise ratio in dB; `weight` (broadcast) says how much each place counts, NaN where nothing does."""
    error = (np.asarray(a_01, np.float64) - b_01) ** 2
    if weight is None:
        mse = error.mean()
    else:
        weight = np.broadcast_to(weight, error.shape)
        mse = (error * weight).sum() / weight.sum() if weight.any() else np.nan
    return float(-20 * np.log10(max(np.sqrt(mse), SMALLEST_RMSE))) if np.isfinite(mse) else float("nan")


def ssim(a_01: Float[np.ndarray, "h w 3"], b_01: Float[np.ndarray, "h w 3"]) -> float:
    """Structural similarity (Wang et al. 2004), scikit-image's, with their Gaussian window. Needs the extra [evaluate]."""
    from skimage.metrics import structural_similarity

    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(np.asarray(a_01), np.asarray(b_01), channel_axis=-1, data_range=1.0, **options))


def soft_iou(a: Float[np.ndarray, "h w"], b: Float[np.ndarray, "h w"]) -> float:
    """Σ min / Σ max of two alphas (LayerD's and Qwen-Image-Layered's protocol); 1 where both are empty."""
    union = np.maximum(a, b).sum()
    return float(np.minimum(a, b).sum() / union) if union else 1.0


def rgb_l1(found_01: Float[np.ndarray, "h w 3"], true_rgba_01: Float[np.ndarray, "h w 4"]) -> float:
    """Mean absolute error of colour, weighted by the true alpha; NaN for an empty layer."""
    alpha = true_rgba_01[..., 3:]
    total = alpha.sum() * 3
    return float((np.abs(found_01 - true_rgba_01[..., :3]) * alpha).sum() / total) if total else float("nan")
