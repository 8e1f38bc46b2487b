"""The training losses (paper §3.1–3.2, Eq. 6–8, and Eq. 2 for the noise).

L_noise   = w(t) ‖ target − prediction ‖²               ε-target and w = 1 in the paper
L_c       = Σ_f ‖ resize(I_α^f) − M_G^{f,N} ‖²          Eq. 6
L_layout  = Σ_f ‖ M_G^{f,N} − M_F^f ‖²                  Eq. 7, M_G stopped: the global map guides
L = λ_noise L_noise + λ_c L_c + λ_layout L_layout        Eq. 8

Squared norms are means over pixels; sums over foregrounds are means over the batch's valid ones.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.attention.context_map import LayerMaps
from dreamlayer_jax.config import PredictionType
from dreamlayer_jax.layer_axis import LayerContext, Role

Weighting = Literal["uniform", "min_snr", "clipped_v"]


def noise_weight(kind: PredictionType, weighting: Weighting, alpha: Float[Array, " b"], gamma: float = 5.0) -> Float[Array, " b"]:
    """w(t), for the given prediction type.

    "uniform" is 1. The others are stated on the error of z_0: "min_snr" is min(SNR, γ) (Hang et al. 2023); "clipped_v" is
    min(SNR + 1, γ), the v-loss (Salimans and Ho 2022) without its weight on the nearly clean, for short runs from scratch: the layout is
    settled where SNR is small, and min-SNR hardly looks there.
    """
    if weighting == "uniform":
        return jnp.ones_like(alpha)
    snr = alpha / (1 - alpha)
    per_clean = jnp.minimum(snr if weighting == "min_snr" else snr + 1, gamma)
    return per_clean / {"epsilon": snr, "sample": jnp.ones_like(snr), "v_prediction": snr + 1}[kind]


def _mean(values: Float[Array, "l b"], keep: Bool[Array, "l b"]) -> Float[Array, ""]:
    return jnp.where(keep, values, 0.0).sum() / jnp.maximum(keep.sum(), 1)


def noise_loss(
    prediction: Float[Array, "l b h w c"], wanted: Float[Array, "l b h w c"], weight: Float[Array, " b"], counts: Bool[Array, "l b"]
) -> Float[Array, ""]:
    """L_noise over all layers that count: neither padding nor given."""
    return _mean(jnp.square(prediction - wanted).mean((2, 3, 4)) * weight[None], counts)


def map_losses(
    maps: LayerMaps, alpha: Float[Array, "l b h w"], layer: LayerContext, told: Bool[Array, " b"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(L_c, L_layout) over valid foregrounds of the scenes that were told their prompts.

    Args:
        maps: of the whole layer batch.
        alpha: the layers' true alphas at the maps' resolution; only those of foregrounds are read.
        layer: contexts of the whole layer batch.
        told: False where the prompts were dropped for classifier-free guidance.
    """
    keep = (layer.role == Role.FOREGROUND)[:, None] & told[None]
    keep = keep if layer.valid is None else keep & layer.valid
    context = jnp.square(alpha - maps.in_global).mean((2, 3))
    layout = jnp.square(jax.lax.stop_gradient(maps.in_global) - maps.in_own).mean((2, 3))
    return _mean(context, keep), _mean(layout, keep)
