"""Text to layers (paper §9), from noise; and, with some layers given, any layers from any others."""

from __future__ import annotations

from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.diffusion.denoise import Given, Trajectory, ddim_steps, denoise, guidance_contexts, lay, noised
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.prompts import TokenBatch


@flax.struct.dataclass
class GeneratedLatents:
    """The layer batch on its way from noise, and each layer's context map M_G^{f,N} as a mean over the steps."""

    trajectory: Trajectory
    context_maps: Float[Array, "l b mh mw"]

    @property
    def latents(self) -> Float[Array, "l b h w c"]:
        """The clean latents."""
        return self.trajectory.clean


@flax.struct.dataclass
class KnownLatents:
    """Clean `latent_scaled` of a layer batch of which `mask` is 1 where it is known; the rest may hold anything."""

    latents: Float[Array, "l b h w c"]
    mask: Float[Array, "l b h w 1"]


def starting_noise(config: DreamLayerConfig, rng: Array, layers: int, batch: int, height: int, width: int) -> Float[Array, "l b h w c"]:
    """z_T: independent noise for every layer, or the same for all (`LayeredConfig.same_noise`). Sides in pixels."""
    down = config.vae.downscale
    drawn = 1 if config.layered.same_noise else layers
    z = jax.random.normal(rng, (drawn, batch, height // down, width // down, config.unet.in_channels))
    return jnp.broadcast_to(z, (layers, *z.shape[1:]))


def generate_layers(
    config: DreamLayerConfig,
    params: Params,
    tokens: TokenBatch,
    empty_ids: Int[Array, " t"],
    rng: Array,
    steps: int = 50,
    guidance: float = 7.5,
    size: tuple[int, int] | None = None,
    known: KnownLatents | None = None,
    on_piece: Callable[[int, Array], None] | None = None,
) -> GeneratedLatents:
    """Text to layers, some of them given or none.

    Args:
        config: the model.
        params: "unet", "text_encoder" and "layer_assign".
        tokens: of k layers, background first, b scenes.
        empty_ids: token ids of the empty prompt.
        rng: key of the starting noise; what is known is noised with the same.
        steps: DDIM steps, 1 … T.
        guidance: classifier-free guidance weight; 1 is none.
        size: height and width in pixels; the model's own by default.
        known: layers (or parts of them) that stay as they are, and that the others are made for.
        on_piece: called with the steps that are begun and their result to come, about ten times; the scan then runs in that many equal
            pieces.
    """
    height, width = size or (config.sample_size, config.sample_size)
    k, batch = tokens.words.shape
    contexts = guidance_contexts(config, params, tokens, empty_ids)
    z = starting_noise(config, rng, k + 1, batch, height, width)
    run = ddim_steps(config, steps)
    straight = None if known is None else noised(known.latents, z, run)
    piece = steps if on_piece is None else max(n for n in range(1, max(1, steps // 10) + 1) if steps % n == 0)
    states, maps = [], 0.0
    for done in range(0, steps, piece):
        part = slice(done, done + piece)
        given = None if known is None else Given(trajectory=straight.replace(states=straight.states[part]), mask=known.mask)
        out = denoise(config, params["unet"], z, contexts, run[part], jnp.float32(guidance), given)
        z, maps = out.trajectory.clean, maps + out.context_maps.sum(axis=0)
        states.append(out.trajectory.states)
        if on_piece is not None:
            on_piece(done + piece, z)
    clean = z if known is None else lay(known.latents, z, known.mask)
    return GeneratedLatents(trajectory=Trajectory(states=jnp.concatenate(states), clean=clean), context_maps=maps / steps)
