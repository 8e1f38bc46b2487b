"""UniPC (Zhao et al. 2023; B(h) = expm1(h), order 2, predicting ẑ_0): DPM-Solver++'s levels, and a corrector that costs no prediction.

h = λ_i − λ_{i−1},   E = expm1(−h),   φ = −E/h − 1,   ρ = (λ_{i−2} − λ_{i−1}) / h

corrector, once m = ẑ_0 is predicted at z_i:   z_i ← √((1 − ᾱ_i)/(1 − ᾱ_{i−1})) z_{i−1} − α_i E (m⁻ + x (m⁻⁻ − m⁻)/ρ + y (m − m⁻))
    x + y = φ/E,   ρ x + y = 2 (−φ/h − ½)/E         (first order: x = 0, y = ½)
predictor:   z_{i+1} = √((1 − ᾱ_{i+1})/(1 − ᾱ_i)) z_i − α_{i+1} E' (m + ½ (m⁻ − m)/ρ')       (first order: m alone)

The corrector's order is that of the predictor before it. The first and the last predictor are of first order; the last ends at ẑ_0.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from dreamlayer_jax.diffusion.solvers import dpm
from dreamlayer_jax.diffusion.solvers.linear import Coefficients


def coefficients(alpha_t: np.ndarray, alpha_next: np.ndarray) -> Coefficients:
    """p, q, r, which are DPM-Solver++'s, and the correction of a run that begins here: its first step has nothing to correct by."""
    p, b, h = dpm.first_order(alpha_t, alpha_next)  # b = −α E
    correct = np.zeros((len(b), 5))
    correct[0, 0] = 1
    for i in range(1, len(b)):
        x, y, rho = _weights(h[i - 2], h[i - 1]) if i > 1 else (0.0, 0.5, 1.0)
        correct[i] = 0, p[i - 1], b[i - 1] * y, b[i - 1] * (1 - x / rho - y), b[i - 1] * x / rho
    return dataclasses.replace(dpm.coefficients(alpha_t, alpha_next), correct=correct)


def _weights(h_before: float, h: float) -> tuple[float, float, float]:
    """(x, y, ρ) of the second order."""
    rho, grown = -h_before / h, np.expm1(-h)
    phi = -grown / h - 1
    x, y = np.linalg.solve([[1, 1], [rho, 1]], [phi / grown, 2 * (-phi / h - 0.5) / grown])
    return x, y, rho
