"""The step that every sampler takes, linear in what is known when it is taken:

z' = p z + q ẑ_0 + r ẑ_0⁻ + s ε

z is the latent at ᾱ_t, ẑ_0 the clean latent that the prediction at (z, t) stands for, ẑ_0⁻ the step before's, ε fresh noise, z' the
latent at the next ᾱ. A sampler is its numbers p, q, r, s, made in float64: see the files beside this one. UniPC corrects z first, by the
prediction that was made at it, in the same way:

z ← c_0 z + c_1 z⁻ + c_2 ẑ_0 + c_3 ẑ_0⁻ + c_4 ẑ_0⁻⁻,   z⁻ the step before's corrected z
"""

from __future__ import annotations

import dataclasses
from typing import Protocol, runtime_checkable

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dreamlayer_jax.arrays import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Levels:
    """A run's timesteps, noisiest first, and ᾱ before and after each step."""

    t: np.ndarray
    alpha_t: np.ndarray
    alpha_next: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coefficients:
    """What a sampler's steps are made of, one number a step, float64; None for what the sampler never uses."""

    p: np.ndarray
    q: np.ndarray
    r: np.ndarray | None = None
    s: np.ndarray | None = None
    correct: np.ndarray | None = None
    """(c_0 … c_4) of each step."""


@runtime_checkable
class Numbers(Protocol):
    """`Coefficients` by their names alone: of a whole run or, inside the loop, of one step."""

    p: Array
    q: Array
    r: Array | None
    s: Array | None
    correct: Array | None


@flax.struct.dataclass
class Memory:
    """What a run remembers of the steps before."""

    last: Float[Array, "*n"] | None
    """z⁻, for a sampler that corrects."""
    clean: tuple[Float[Array, "*n"], ...]
    """ẑ_0⁻, ẑ_0⁻⁻, …: as many as the sampler uses."""


def deterministic(alpha: np.ndarray, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(p, q) of the step from ᾱ = `alpha` to `beta` that keeps ε̂: z' = √β ẑ_0 + √(1 − β) ε̂ (DDIM)."""
    p = np.sqrt((1 - beta) / (1 - alpha))
    return p, np.sqrt(beta) - p * np.sqrt(alpha)


def first_memory(z: Float[Array, "*n"], coefficients: Numbers) -> Memory:
    """Nothing is remembered yet; zeros stand for it, and the first steps' numbers for it are zero."""
    nothing = jnp.zeros_like(z)
    corrects = coefficients.correct is not None
    looks_back = 2 if corrects else int(coefficients.r is not None)
    return Memory(last=nothing if corrects else None, clean=(nothing,) * looks_back)


def corrected(at: Numbers, z: Float[Array, "*n"], clean: Float[Array, "*n"], memory: Memory) -> Float[Array, "*n"]:
    """z once its own prediction is known; `at` are one step's numbers."""
    if at.correct is None:
        return z
    terms = (z, memory.last, clean, *memory.clean)
    return sum(number * value for number, value in zip(at.correct, terms, strict=True))


def linear_step(
    at: Numbers, z: Float[Array, "*n"], clean: Float[Array, "*n"], memory: Memory, noise: Float[Array, "*n"] | None
) -> tuple[Float[Array, "*n"], Memory]:
    """(z', what is remembered then) from the corrected z; `at` are one step's numbers."""
    after = at.p * z + at.q * clean
    if at.r is not None:
        after = after + at.r * memory.clean[0]
    if at.s is not None:
        after = after + at.s * noise
    remembered = (clean, *memory.clean)[: len(memory.clean)]
    return after, Memory(last=None if memory.last is None else z, clean=remembered)
