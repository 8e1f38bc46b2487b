"""Muon (Jordan et al. 2024): momentum, orthogonalised by Newton-Schulz steps.

`optax.contrib.muon` iterates on the whole m x n matrix X. Here the same polynomial acts on the small Gram matrix alone: with
A = X'X (n <= m) one step is X <- X (aI + bA + cA²) = XB, and the Gram matrix of the result is BAB, so the tall matrix enters two
products instead of three a step. The update equals optax's up to rounding (a test compares them).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan's quintic: steep at 0, near 1 on (0, 1]
STEPS = 5


def orthogonalize(x: Float[Array, "m n"]) -> Float[Array, "m n"]:
    """About U V' of the singular value decomposition: the singular values end between 0.5 and 1.5."""
    if x.shape[0] < x.shape[1]:
        return orthogonalize(x.T).T
    a, b, c = NEWTON_SCHULZ
    x = x / (jnp.linalg.norm(x) + 1e-8)
    identity = jnp.eye(x.shape[1], dtype=x.dtype)
    gram, product = x.T @ x, identity
    for _ in range(STEPS):
        polynomial = a * identity + b * gram + c * gram @ gram
        gram = polynomial @ gram @ polynomial
        product = product @ polynomial
    return x @ product


class MuonState(NamedTuple):
    """Steps done and the momentum, shaped as the parameters."""

    count: jax.Array
    momentum: optax.Updates


def scale_by_muon(beta: float = 0.95) -> optax.GradientTransformation:
    """Nesterov momentum, orthogonalised. Every parameter is a kernel (..., out), taken as the matrix (rest, out).

    The update is scaled by sqrt(max(1, out / rest)), so that one learning rate suits every width.
    """

    def init(params: optax.Params) -> MuonState:
        return MuonState(jnp.zeros((), jnp.int32), optax.tree.zeros_like(params))

    def update(updates: optax.Updates, state: MuonState, params: optax.Params | None = None) -> tuple[optax.Updates, MuonState]:
        del params
        count = optax.safe_increment(state.count)
        momentum = optax.tree.update_moment(updates, state.momentum, beta, 1)
        ahead = jax.tree.map(
            lambda m, g: beta * m + (1 - beta) * g,
            optax.tree.bias_correction(momentum, beta, optax.safe_increment(count)),
            optax.tree.bias_correction(updates, beta, count),
        )

        def matrix_update(g: jax.Array) -> jax.Array:
            matrix = g.reshape(-1, g.shape[-1])
            width = max(1.0, matrix.shape[1] / matrix.shape[0]) ** 0.5
            return (width * orthogonalize(matrix)).reshape(g.shape)

        return jax.tree.map(matrix_update, ahead), MuonState(count, momentum)

    return optax.GradientTransformation(init, update)
