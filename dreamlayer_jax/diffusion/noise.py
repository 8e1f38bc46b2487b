"""Where a run's noise comes from: one key a scene, so that a scene is the same whatever others are made beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
from jaxtyping import Float, Key

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.diffusion.steps import Steps


def scene_keys(seeds: Iterable[int]) -> Key[Array, " b"]:
    """The key of each scene's seed."""
    return jnp.stack([jax.random.key(seed) for seed in seeds])


def layer_noise(keys: Key[Array, " b"], shape: tuple[int, int, int, int, int], same: bool) -> Float[Array, "l b h w c"]:
    """N(0, I) of `shape` (l, b, h, w, c): independent for every layer, or the same for all layers of a scene."""
    layers, _, *latent = shape
    drawn = jax.vmap(lambda key: jax.random.normal(key, (1 if same else layers, *latent)))(keys)
    return jnp.broadcast_to(jnp.moveaxis(drawn, 0, 1), shape)


def fresh_noise(
    keys: Key[Array, " b"] | None, shape: tuple[int, int, int, int, int], same: bool
) -> Callable[[Steps], Float[Array, "l b h w c"]]:
    """`layer_noise` of one step, by its timestep: the same whether a run is taken in pieces, or again from its middle."""

    def at_step(at: Steps) -> Array:
        if keys is None:
            raise ValueError(f"the sampler {at.sampler!r} draws noise at every step: give the scenes' keys")
        return layer_noise(jax.vmap(lambda key: jax.random.fold_in(key, at.t))(keys), shape, same)

    return at_step
