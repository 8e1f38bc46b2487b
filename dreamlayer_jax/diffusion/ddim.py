"""DDIM (Song et al. 2021, Eq. 12 with η = 0; paper §9): one deterministic step, in either direction.

z_s = √ᾱ_s ẑ_0 + √(1 − ᾱ_s) ε̂,   with (ẑ_0, ε̂) from the prediction at (z_t, t)

Towards the picture s < t; for inversion s > t.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from dreamlayer_jax.config import PredictionType
from dreamlayer_jax.diffusion.schedule import add_noise, clean_and_noise


def ddim_step(
    kind: PredictionType, z: Float[Array, "*n"], prediction: Float[Array, "*n"], alpha_t: Float[Array, ""], alpha_s: Float[Array, ""]
) -> Float[Array, "*n"]:
    """z_s from z_t, both levels given by ᾱ."""
    clean, noise = clean_and_noise(kind, jnp.asarray(alpha_t), z, prediction)
    return add_noise(jnp.asarray(alpha_s), clean, noise)
