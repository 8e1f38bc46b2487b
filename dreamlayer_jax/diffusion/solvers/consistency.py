"""Samplers of consistency models: few steps, fresh noise between them.

LCM (Luo et al. 2023):   f = c_out ẑ_0 + c_skip z,   z' = √ᾱ' f + √(1 − ᾱ') ε;  the last step ends at f
    c_skip = σ²/(τ² + σ²),   c_out = τ/√(τ² + σ²),   τ = 10 t,   σ = ½

TCD (Zheng et al. 2024): DDIM from t to u = ⌊(1 − γ) t'⌋, then noise from u to t':
    z' = κ (p z + q ẑ_0) + √(1 − κ²) ε,   κ = √(ᾱ_t' / ᾱ_u);  the last step goes to ᾱ_0 and gets no noise

Their timesteps are of the 50 that their students were taught: 19, 39, …, 999.
"""

from __future__ import annotations

import numpy as np

from dreamlayer_jax.config import ScheduleConfig
from dreamlayer_jax.diffusion.schedule import alpha_table
from dreamlayer_jax.diffusion.solvers.linear import Coefficients, Levels, deterministic

TAUGHT = 50
"""Timesteps of the teacher's that the students know: as many steps as can be taken."""
TIMESTEP_SCALING, SIGMA_DATA = 10.0, 0.5


def _timesteps(config: ScheduleConfig, steps: int) -> np.ndarray:
    taught = np.arange(1, TAUGHT + 1) * (config.num_train_timesteps // TAUGHT) - 1
    chosen = np.floor(np.linspace(0, TAUGHT, steps, endpoint=False)).astype(int)
    return taught[::-1][chosen].astype(np.int32)


def lcm_levels(config: ScheduleConfig, steps: int) -> Levels:
    """The last step ends at the clean latent."""
    t = _timesteps(config, steps)
    alpha = alpha_table(config)[t]
    return Levels(t=t, alpha_t=alpha, alpha_next=np.append(alpha[1:], 1.0))


def lcm_coefficients(levels: Levels) -> Coefficients:
    """p, q, s."""
    scaled = TIMESTEP_SCALING * levels.t
    skip = SIGMA_DATA**2 / (scaled**2 + SIGMA_DATA**2)
    out = scaled / np.sqrt(scaled**2 + SIGMA_DATA**2)
    after = np.sqrt(levels.alpha_next)
    return Coefficients(p=after * skip, q=after * out, s=np.sqrt(1 - levels.alpha_next))


def tcd_levels(config: ScheduleConfig, steps: int) -> Levels:
    """The last step ends at ᾱ_0."""
    t, alpha = _timesteps(config, steps), alpha_table(config)
    return Levels(t=t, alpha_t=alpha[t], alpha_next=alpha[np.append(t[1:], 0)])


def tcd_coefficients(config: ScheduleConfig, levels: Levels, gamma: float) -> Coefficients:
    """p, q, s; `gamma` is 0 for no noise, 1 for all of it (diffusers' `eta`)."""
    following = np.append(levels.t[1:], 0)
    between = alpha_table(config)[np.floor((1 - gamma) * following).astype(int)]
    p, q = deterministic(levels.alpha_t, between)
    kappa = np.sqrt(levels.alpha_next / between)
    kappa[-1] = 1
    return Coefficients(p=kappa * p, q=kappa * q, s=np.sqrt(1 - kappa**2))
