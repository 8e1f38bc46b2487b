"""Rotary position of a two-dimensional grid (Su et al., arXiv 2104.09864), for models that learn attention from scratch.

Stable Diffusion has no position in its self-attention: it learnt where things are from a billion pictures. Rotated queries and keys
see their offset directly: in layer-shared attention (paper Eq. 10-11) a token finds its own place in the other layers from the start.
"""

from __future__ import annotations

import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Float

from dreamlayer_jax.arrays import Array

BASE = 100.0  # wavelengths from 2π to about 200π tokens: the latent grids here are small


def rotate_by_place(x: Float[Array, "b hw n d"], height: int, width: int) -> Float[Array, "b hw n d"]:
    """Turns the first half of the features (in pairs) by the row, the second half by the column; d must be a multiple of 4."""
    pairs = x.shape[-1] // 4
    frequency = BASE ** (-jnp.arange(pairs)[None] / pairs)
    row = jnp.repeat(jnp.arange(height), width)[:, None] * frequency
    column = jnp.tile(jnp.arange(width), height)[:, None] * frequency
    angle = jnp.concatenate([row, column], axis=-1)[None, :, None, :].astype(x.dtype)
    even, odd = rearrange(x, "b t n (p two) -> two b t n p", two=2)
    turned = [even * jnp.cos(angle) - odd * jnp.sin(angle), even * jnp.sin(angle) + odd * jnp.cos(angle)]
    return rearrange(jnp.stack(turned), "two b t n p -> b t n (p two)")
