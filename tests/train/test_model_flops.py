"""Model FLOPs: against XLA's own count where XLA counts all, and by hand where it does not."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import pytest

from train.model_flops import count
from train.utilization import PEAKS, Utilization, peak_flops


def counted(function: Callable[..., jax.Array], *arguments: jax.Array) -> float:
    return count(jax.make_jaxpr(function)(*arguments).jaxpr)


def test_products_and_convolutions_are_those_of_xla() -> None:
    """Reference: XLA's cost analysis of the compiled gradient; it adds one operation an element for additions and the like."""
    x, w, kernel = jnp.ones((4, 16, 16, 32)), jnp.ones((32, 64)), jnp.ones((1, 1, 64, 48))

    def loss(w: jax.Array, kernel: jax.Array) -> jax.Array:
        y = jax.lax.conv_general_dilated(x @ w, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jnp.sum(y * y)

    gradient = jax.grad(loss, argnums=(0, 1))
    expected = jax.jit(gradient).lower(w, kernel).compile().cost_analysis()["flops"]
    assert counted(gradient, w, kernel) == pytest.approx(expected, rel=0.03)


def test_a_convolution_by_hand() -> None:
    x, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 5))
    strided = jax.make_jaxpr(
        lambda x, k: jax.lax.conv_general_dilated(x, k, (2, 2), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC"))
    )(x, kernel)
    assert count(strided.jaxpr) == 2 * (2 * 4 * 4 * 5) * (3 * 3 * 3)


def test_a_loop_counts_as_often_as_it_runs_and_a_branch_once() -> None:
    x = jnp.ones((8, 8))
    once = 2 * 8**3
    assert counted(lambda x: jax.lax.scan(lambda c, _: (c @ x, None), x, None, length=7)[0], x) == 7 * once
    assert counted(lambda x: jax.lax.cond(x[0, 0] > 0, lambda: x @ x @ x, lambda: x @ x), x) == 2 * once
    assert counted(jax.jit(jax.checkpoint(lambda x: x @ x)), x) == once


def test_utilization_is_work_over_time_over_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((0.0, 1.0, 3.0, 3.0, 4.0))
    monkeypatch.setattr("train.utilization.time.perf_counter", lambda: next(clock))
    utilization = Utilization(peak=100.0)
    assert utilization.take() is None
    utilization.add(30.0)
    utilization.add(10.0)
    assert utilization.take() == pytest.approx(0.2)  # from 1 s to 3 s
    assert utilization.take() is None


def test_the_peak_is_known_by_name_or_measured() -> None:
    class Device:
        device_kind = "NVIDIA H100 80GB HBM3"

    assert peak_flops(Device())[0] == PEAKS["H100"] == 989e12
    peak, source = peak_flops(jax.devices()[0])
    assert peak > 1e6
    assert source == "a matrix product's"
