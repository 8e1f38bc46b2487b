"""Model-FLOPs utilisation: what share of the device's peak the model's own arithmetic reaches (Chowdhery et al. 2022, appendix B)."""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp

# Dense bfloat16 peaks of a JAX device (float16 where it has no bfloat16), FLOP/s, from the makers' data sheets; the first name that is part
# of the device's own wins.
PEAKS = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "GH200": 989e12,
    "B200": 2250e12,
    "A100": 312e12,
    "A10G": 70e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
    "V100": 125e12,
    "T4": 65e12,
    "TPU v6 lite": 918e12,
    "TPU v5 lite": 197e12,
    "TPU v5p": 459e12,
    "TPU v5": 459e12,
    "TPU v4": 275e12,
    "TPU v3": 61.5e12,  # a device is a core; a chip has two
    "TPU v2": 22.5e12,
}
_SIDE, _REPEATS = 1024, 5


def peak_flops(device: jax.Device) -> tuple[float, str]:
    """FLOP/s of one device, and where the figure is from: the data sheet, or a float32 matrix product timed now."""
    for name, peak in PEAKS.items():
        if name in device.device_kind:
            return peak, f"{name}'s bfloat16 peak"
    return _measured(device), "a matrix product's"


def _measured(device: jax.Device) -> float:
    """The best of a few products of two matrices."""
    matrix = jax.device_put(jnp.full((_SIDE, _SIDE), 1 / _SIDE), device)
    product: Any = jax.jit(jnp.matmul).lower(matrix, matrix).compile()
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        product(matrix, matrix).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return 2 * _SIDE**3 / min(seconds)


class Utilization:
    """Model FLOPs over a span of time; `take` gives their share of the peak and starts anew."""

    def __init__(self, peak: float) -> None:
        self.peak = peak
        self.restart()

    def restart(self) -> None:
        """Forgets what was added: the time since then says nothing, a program was compiled meanwhile."""
        self._flops, self._since = 0.0, time.perf_counter()

    def add(self, flops: float) -> None:
        """One step's model FLOPs."""
        self._flops += flops

    def take(self) -> float | None:
        """In [0, 1], of all time since the last call, waiting for data included; None if no step was added."""
        share = self._flops / ((time.perf_counter() - self._since) * self.peak) if self._flops else None
        self.restart()
        return share
