"""Floating-point operations of a function, counted on its jaxpr: the matrix products and convolutions, each loop as often as it runs.

What XLA's own `cost_analysis` leaves out (the body of a loop but once, cuDNN's attention altogether) is in here, so that the figure is the
same on every device.
"""

from __future__ import annotations

import math
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

_FLASH_FORWARD, _FLASH_BACKWARD = "dot_product_attention_fwd_wrapper", "dot_product_attention_bwd_wrapper"


def count(jaxpr: Jaxpr) -> float:
    """2 operations a multiply-add. A loop whose length is known only when it runs counts once, of a branch the costliest side."""
    total = 0.0
    for equation in jaxpr.eqns:
        total += _own(equation)
        inner = [count(inside) for inside in _inside(equation)]
        if equation.primitive.name == "cond":
            total += max(inner)
        else:
            total += equation.params["length"] * sum(inner) if equation.primitive.name == "scan" else sum(inner)
    return total


def _own(equation: JaxprEqn) -> float:
    name, shapes = equation.primitive.name, [variable.aval.shape for variable in equation.invars]
    results = [variable.aval.shape for variable in equation.outvars]
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return 2.0 * math.prod(results[0]) * math.prod(shapes[0][axis] for axis in contracted)
    if name == "conv_general_dilated":
        out_axis = equation.params["dimension_numbers"].rhs_spec[0]
        return 2.0 * math.prod(results[0]) * math.prod(shapes[1]) / shapes[1][out_axis]
    if name in (_FLASH_FORWARD, _FLASH_BACKWARD):  # two products forward; backward five, of which one is done again
        b, t, n, d = shapes[0]
        return 2.0 * b * n * t * shapes[1][1] * d * (2 if name == _FLASH_FORWARD else 4)
    return 0.0


def _inside(equation: JaxprEqn) -> list[Jaxpr]:
    """The jaxprs in an equation's parameters. cuDNN's attention is counted by its shapes."""
    found: list[Any] = []
    for value in equation.params.values():
        found += value if isinstance(value, (tuple, list)) else [value]
    return [value.jaxpr if isinstance(value, ClosedJaxpr) else value for value in found if isinstance(value, (ClosedJaxpr, Jaxpr))]
