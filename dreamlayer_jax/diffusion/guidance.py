"""Classifier-free guidance (Ho and Salimans 2022): p = p_∅ + w (p_prompt − p_∅), and at which steps (Kynkäänniemi et al. 2024)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.diffusion.steps import Steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guidance:
    """How much, and where. A weight of 1 is no guidance; so is 0, as the pages of few-step models have it."""

    weight: float
    interval: tuple[int, int] | None = None
    """The timesteps (from, to), from >= to, outside which there is no guidance; None for all."""

    @property
    def is_on(self) -> bool:
        return self.weight not in (0, 1)

    def at(self, steps: Steps) -> Bool[np.ndarray, " s"]:
        """Which steps are guided."""
        t = np.asarray(steps.t)
        high, low = self.interval or (t.max(), t.min())
        return self.is_on & (t <= high) & (t >= low)


def pieces(longest: int | None, *programs: Bool[np.ndarray, " s"]) -> Iterator[tuple[int, int]]:
    """(start, stop) of the steps in order, cut where any of `programs` changes and after at most `longest` steps."""
    kinds = np.stack(programs)
    steps = kinds.shape[1]
    changes = np.flatnonzero((kinds[:, 1:] != kinds[:, :-1]).any(axis=0)) + 1
    for first, last in itertools.pairwise([0, *changes.tolist(), steps]):
        for start in range(first, last, longest or steps):
            yield start, min(start + (longest or steps), last)


def guided(prediction: Float[Array, "..."], weight: Float[Array, ""] | float, axis: int = 0) -> Float[Array, "..."]:
    """Joins a doubled batch [without prompt, with prompt] along `axis`; weight 1 is the prompted prediction alone."""
    empty, prompted = jnp.split(prediction, 2, axis=axis)
    return empty + weight * (prompted - empty)
