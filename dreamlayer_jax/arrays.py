"""What the library's signatures call an array; the shapes written behind it are jaxtyping's, and tests check them."""

from __future__ import annotations

import jax
import numpy as np

Array = jax.Array | np.ndarray | np.generic
"""JAX's or NumPy's, whose scalars have no axis: on the host the same functions serve both."""
