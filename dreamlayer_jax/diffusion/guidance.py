"""Classifier-free guidance (Ho and Salimans 2022): p = p_∅ + w (p_prompt − p_∅)."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def guided(prediction: Float[Array, "2*b *n"], weight: Float[Array, ""], axis: int = 0) -> Float[Array, "b *n"]:
    """Joins a doubled batch [without prompt, with prompt] along `axis`; weight 1 is the prompted prediction alone."""
    empty, prompted = jnp.split(prediction, 2, axis=axis)
    return empty + weight * (prompted - empty)
