"""A network over many pictures, a few at a time: what a decoder holds of one 512 × 512 picture is over a gigabyte."""

from __future__ import annotations

from collections.abc import Callable

import jax
from jaxtyping import Array

PIXELS_AT_ONCE = 512 * 512


def by_picture(network: Callable[..., Array], pixels: int, *pictures: Array) -> Array:
    """`network(*pictures)` over the leading axis, as many pictures of `pixels` pixels at once as `PIXELS_AT_ONCE` holds, one at least."""
    at_once = max(1, PIXELS_AT_ONCE // pixels)
    if len(pictures[0]) <= at_once:
        return network(*pictures)
    return jax.lax.map(lambda one: network(*(x[None] for x in one))[0], pictures, batch_size=at_once)
