"""The noise schedule of Stable Diffusion 1.5 (paper §2, Eq. 2).

z_t = √ᾱ_t z_0 + √(1 − ᾱ_t) ε,   v = √ᾱ_t ε − √(1 − ᾱ_t) z_0
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.config import PredictionType, ScheduleConfig


def alpha_table(config: ScheduleConfig) -> Float[np.ndarray, " t"]:
    """ᾱ_t for t = 0 … T − 1: scaled-linear betas (linear in √β), float64."""
    betas = np.linspace(config.beta_start**0.5, config.beta_end**0.5, config.num_train_timesteps, dtype=np.float64) ** 2
    return np.cumprod(1.0 - betas)


def alphas_cumprod(config: ScheduleConfig) -> Float[Array, " t"]:
    """`alpha_table` on the device, float32."""
    return jnp.asarray(alpha_table(config), jnp.float32)


def final_alpha_cumprod(config: ScheduleConfig) -> float:
    """ᾱ after the last step: 1 with `set_alpha_to_one`, else ᾱ_0."""
    return 1.0 if config.set_alpha_to_one else float(1.0 - config.beta_start)


def timesteps(config: ScheduleConfig, steps: int) -> np.ndarray:
    """The `steps` timesteps of a sampling run, noisiest first, int32; DDIMScheduler's three spacings.

    Raises:
        ValueError: `steps` is not in 1 … T.
    """
    total = config.num_train_timesteps
    if not 1 <= steps <= total:
        raise ValueError(f"{steps} sampling steps asked for; the schedule has {total} timesteps, so give 1 to {total}")
    if config.timestep_spacing == "linspace":
        return np.linspace(0, total - 1, steps).round()[::-1].astype(np.int32)
    if config.timestep_spacing == "leading":
        return np.minimum((np.arange(steps) * (total // steps)).round()[::-1] + config.steps_offset, total - 1).astype(np.int32)
    return (np.round(np.arange(total, 0, -total / steps)) - 1).astype(np.int32)


Alpha = Float[Array, " b"] | Float[Array, ""]
"""ᾱ_t of each example, or of all."""


def _like(values: Alpha, z: Array) -> Array:
    return values.reshape(values.shape + (1,) * (z.ndim - values.ndim))


def add_noise(alpha: Alpha, clean: Float[Array, "b *n"], noise: Float[Array, "b *n"]) -> Float[Array, "b *n"]:
    """z_t, given ᾱ_t."""
    return _like(jnp.sqrt(alpha), clean) * clean + _like(jnp.sqrt(1 - alpha), clean) * noise


def noise_of(z: Float[Array, "*n"], clean: Float[Array, "*n"], alpha: Float[Array, ""]) -> Float[Array, "*n"]:
    """ε of z_t = √ᾱ_t z_0 + √(1 − ᾱ_t) ε."""
    return (z - jnp.sqrt(alpha) * clean) / jnp.sqrt(1 - alpha)


def target(kind: PredictionType, alpha: Alpha, clean: Float[Array, "b *n"], noise: Float[Array, "b *n"]) -> Array:
    """What the network learns to predict: ε, v or z_0."""
    if kind == "epsilon":
        return noise
    if kind == "sample":
        return clean
    return _like(jnp.sqrt(alpha), clean) * noise - _like(jnp.sqrt(1 - alpha), clean) * clean


def clean_and_noise(
    kind: PredictionType, alpha: Alpha, z: Float[Array, "b *n"], prediction: Float[Array, "b *n"]
) -> tuple[Float[Array, "b *n"], Float[Array, "b *n"]]:
    """(z_0, ε) that a prediction at z_t stands for."""
    signal, sigma = _like(jnp.sqrt(alpha), z), _like(jnp.sqrt(1 - alpha), z)
    if kind == "epsilon":
        return (z - sigma * prediction) / signal, prediction
    if kind == "sample":
        return prediction, (z - signal * prediction) / sigma
    return signal * z - sigma * prediction, signal * prediction + sigma * z
