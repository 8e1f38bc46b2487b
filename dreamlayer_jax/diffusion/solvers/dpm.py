"""DPM-Solver++ 2M (Lu et al. 2022, Algorithm 2): second order in λ = −ln σ out of the step before's ẑ_0.

σ_t = √((1 − ᾱ_t) / ᾱ_t),   α = √ᾱ = 1/√(1 + σ²),   h = λ' − λ,   b = −α' expm1(−h),   ρ = (λ − λ⁻) / h

z' = √((1 − ᾱ')/(1 − ᾱ)) z + b (1 + 1/2ρ) ẑ_0 − b/2ρ ẑ_0⁻

The first step, and the last one (to σ = 0: z' = ẑ_0), are of first order: b ẑ_0 alone.
"""

from __future__ import annotations

import numpy as np

from dreamlayer_jax.config import ScheduleConfig
from dreamlayer_jax.diffusion.schedule import alpha_table
from dreamlayer_jax.diffusion.solvers.linear import Coefficients, Levels

KARRAS_RHO = 7
"""ρ of Karras et al. 2022, Eq. 5."""


def levels(config: ScheduleConfig, steps: int) -> Levels:
    """The timesteps of DPMSolverMultistepScheduler and UniPCMultistepScheduler, which are not DDIM's; the last step ends at σ = 0.

    A schedule with "leading" timesteps, Stable Diffusion 1.5's, is read as those schedulers read its file: as "linspace".
    """
    spacing = "linspace" if config.timestep_spacing == "leading" else config.timestep_spacing
    return spaced_levels(config, steps, spacing)


def spaced_levels(config: ScheduleConfig, steps: int, spacing: str) -> Levels:
    """The same, by any of diffusers' three spacings."""
    total = config.num_train_timesteps
    if spacing == "linspace":
        t = np.linspace(0, total - 1, steps + 1).round()[::-1][:-1]
    elif spacing == "leading":
        t = (np.arange(steps + 1) * (total // (steps + 1)))[::-1][:-1] + config.steps_offset
    else:
        t = np.arange(total, 0, -total / steps).round() - 1
    t = t.astype(np.int32)
    return _to_the_end(t, alpha_table(config)[t])


def karras_levels(config: ScheduleConfig, steps: int) -> Levels:
    """σ_i = (σ_max^{1/ρ} + i/(n − 1) (σ_min^{1/ρ} − σ_max^{1/ρ}))^ρ (Karras et al. 2022, Eq. 5), each at the timestep next to it."""
    alpha = alpha_table(config)
    sigma = np.sqrt((1 - alpha) / alpha)
    share = np.arange(steps) / max(1, steps - 1)
    low, high = sigma[0] ** (1 / KARRAS_RHO), sigma[-1] ** (1 / KARRAS_RHO)
    chosen = (high + share * (low - high)) ** KARRAS_RHO
    t = np.interp(np.log(chosen), np.log(sigma), np.arange(len(sigma))).round().astype(np.int32)
    return _to_the_end(t, 1 / (1 + chosen**2))


def _to_the_end(t: np.ndarray, alpha: np.ndarray) -> Levels:
    return Levels(t=t, alpha_t=alpha, alpha_next=np.append(alpha[1:], 1.0))


def log_snr(alpha: np.ndarray) -> np.ndarray:
    """λ = −ln σ; infinite for ᾱ = 1."""
    with np.errstate(divide="ignore"):
        return 0.5 * (np.log(alpha) - np.log1p(-alpha))


def first_order(alpha_t: np.ndarray, alpha_next: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(p, b, h) of each step."""
    h = log_snr(alpha_next) - log_snr(alpha_t)
    return np.sqrt((1 - alpha_next) / (1 - alpha_t)), -np.sqrt(alpha_next) * np.expm1(-h), h


def coefficients(alpha_t: np.ndarray, alpha_next: np.ndarray) -> Coefficients:
    """p, q, r of a run that begins here: its first step looks back at nothing."""
    p, b, h = first_order(alpha_t, alpha_next)
    back = np.zeros_like(b)  # 1 / 2ρ
    back[1:-1] = h[1:-1] / (2 * h[:-2])
    return Coefficients(p=p, q=b * (1 + back), r=-b * back)
