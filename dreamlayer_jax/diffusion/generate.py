"""Text to layers (paper §9), from noise; and, with some layers given, any layers from any others."""

from __future__ import annotations

import flax.struct
from jaxtyping import Float, Int, Key

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.diffusion.denoise import KnownTrajectory, OnPiece, Trajectory, denoise, guidance_contexts, lay, noised
from dreamlayer_jax.diffusion.guidance import Guidance
from dreamlayer_jax.diffusion.noise import layer_noise
from dreamlayer_jax.diffusion.steps import Steps
from dreamlayer_jax.layer_axis import LayerContext
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.place import Place
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


def generate_layers(
    config: DreamLayerConfig,
    params: Params,
    tokens: TokenBatch,
    empty_ids: Int[Array, " t"],
    keys: Key[Array, " b"],
    steps: Steps,
    guidance: Guidance,
    *,
    negative_ids: Int[Array, " t"] | None = None,
    size: tuple[int, int] | None = None,
    known: KnownLatents | None = None,
    place: Place = Place(),
    keep: int | None = None,
    piece: int | None = None,
    on_piece: OnPiece | None = None,
) -> GeneratedLatents:
    """Text to layers, some of them given or none.

    Args:
        config: the model.
        params: "unet", "text_encoder" and "layer_assign".
        tokens: of k layers, background first, b scenes.
        empty_ids: token ids of the empty prompt.
        keys: the scenes' keys; all noise is drawn from them, and what is known is noised with the starting noise.
        steps: of the run.
        guidance: how much, and at which steps.
        negative_ids: token ids of what guidance leads away from; the empty prompt's by default.
        size: height and width in pixels; the model's own by default.
        known: layers (or parts of them) that stay as they are, and that the others are made for.
        place: devices and the dtype of activations.
        keep: the trajectory is kept over so many last steps; all by default.
        piece: the most steps that are handed to the device at a time.
        on_piece: see `OnPiece`.
    """
    contexts = guidance_contexts(config, params, tokens, empty_ids, guidance, negative_ids, place)
    options = {"size": size, "known": known, "place": place, "keep": keep, "piece": piece, "on_piece": on_piece}
    return generate_from(config, params["unet"], contexts, keys, steps, guidance, **options)


def generate_from(
    config: DreamLayerConfig,
    unet_params: Params,
    contexts: LayerContext,
    keys: Key[Array, " b"],
    steps: Steps,
    guidance: Guidance,
    *,
    size: tuple[int, int] | None = None,
    known: KnownLatents | None = None,
    place: Place = Place(),
    keep: int | None = None,
    piece: int | None = None,
    on_piece: OnPiece | None = None,
) -> GeneratedLatents:
    """`generate_layers` for a layer batch of any roles, as `contexts` (`guidance_contexts`) have them."""
    height, width = size or (config.sample_size, config.sample_size)
    down, layers = config.vae.downscale, len(contexts.role)
    z = layer_noise(keys, (layers, len(keys), height // down, width // down, config.unet.in_channels), config.layered.same_noise)
    path = None if known is None else KnownTrajectory(trajectory=noised(known.latents, z, steps), mask=known.mask)
    out = denoise(config, unet_params, z, contexts, steps, guidance, path, keys, place=place, keep=keep, piece=piece, on_piece=on_piece)
    clean = out.trajectory.clean if known is None else lay(known.latents, out.trajectory.clean, known.mask)
    return GeneratedLatents(trajectory=out.trajectory.replace(clean=clean), context_maps=out.context_maps)
