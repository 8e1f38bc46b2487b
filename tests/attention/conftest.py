"""Random parameters for single modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest


@pytest.fixture
def randomised() -> Callable[..., Any]:
    """(module, *inputs) to parameters that are all drawn, those too that start at zero or one."""

    def draw(module: Any, *inputs: Any, seed: int = 0) -> Any:
        rng = np.random.default_rng(seed)
        shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]

        def leaf(shape: Any) -> np.ndarray:
            size = np.prod(shape.shape[:-1]) ** 0.5 if len(shape.shape) > 1 else 1 / 0.3
            return (rng.normal(size=shape.shape) / size).astype(np.float32)

        return jax.tree.map(leaf, shapes)

    return draw
