"""Which layers a training example shows clean, at t = 0, so that the others learn to be made for them.

The paper trains with one timestep for the whole layer batch (§9). A model that is to complete layers, take a picture apart or harmonise
clean layers learns it better from examples of just that.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class GivenShares:
    """Shares of the scenes whose global picture, whose layers, or some of whose layer batch (each with probability 1/2) is given."""

    picture: float = 0.0
    layers: float = 0.0
    some: float = 0.0

    def __post_init__(self) -> None:
        shares = (self.picture, self.layers, self.some)
        if min(shares) < 0 or sum(shares) > 1:
            raise ValueError(f"shares of given layers are {shares}; give shares of at least 0 that add up to at most 1")


def draw_given(rng: Array, shares: GivenShares, layers: int, scenes: int) -> Bool[Array, "l b"]:
    """True for what is given. Never a whole layer batch."""
    kind_key, some_key = jax.random.split(rng)
    nothing = 1.0 - shares.picture - shares.layers - shares.some
    kind = jax.random.choice(kind_key, 4, (1, scenes), p=jnp.array([nothing, shares.picture, shares.layers, shares.some]))
    is_global = (jnp.arange(layers) == layers - 1)[:, None]
    some = jax.random.bernoulli(some_key, 0.5, (layers, scenes))
    given = ((kind == 1) & is_global) | ((kind == 2) & ~is_global) | ((kind == 3) & some)
    return given & ~given.all(axis=0, keepdims=True)
