"""Information Retained Harmonization, IRH (paper §3.3): layers become one picture in latent space, and shadows and contact appear.

Eq. 12, for t in [T'_H, T_H]:   ẑ^m = ẑ^1 Π_{i≥2} (1 − I_α^i) + Σ_{i≥2} z^i I_α^i Π_{f>i} (1 − I_α^f)

z are the latents kept from the layers' own denoising, ẑ this pass's: it starts as the background at T_H, the foregrounds are laid into it
while t ≥ T'_H, and then it runs free to 0. Editing (Eq. 13) is the same with op(z^i) and op(I_α^i): see `tasks/edit`.

Where a latent covers much of an object, its border is no mixture of latents: a latent of half an object is not half its latent. With
`HarmonizeConfig.fuse` "blend", what is laid in is the latent of the layers' blend B (Eq. 1) under the background's noise ε^1,

    ẑ^m = ẑ^1 (1 − c) + (√ᾱ_t E(B) + √(1 − ᾱ_t) ε^1) c,   c = (1 − Π_{i≥2} (1 − I_α^i))^4

which is Eq. 12 where the layers share their noise, the encoder E is linear and alpha is 0 or 1. The power leaves latents that a foreground
covers in part to contact and shadow, so that it can be laid in to the end.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Key

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.compositing import mean_over_cells
from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.diffusion.decode import decode_latents
from dreamlayer_jax.diffusion.denoise import KnownTrajectory, OnPiece, Trajectory, as_seen, early_steps, guided_prediction
from dreamlayer_jax.diffusion.guidance import Guidance, pieces
from dreamlayer_jax.diffusion.loop import Run, advance, begin, sampler
from dreamlayer_jax.diffusion.noise import fresh_noise
from dreamlayer_jax.diffusion.schedule import add_noise, noise_of
from dreamlayer_jax.diffusion.steps import Steps
from dreamlayer_jax.layer_axis import LayerContext
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.place import Place

COVERAGE_POWER = 4
"""Chosen on scenes apart from those that are reported."""


def fuse(
    background: Float[Array, "b h w c"], foregrounds: Float[Array, "f b h w c"], alphas: Float[Array, "f b h w 1"]
) -> Float[Array, "b h w c"]:
    """Eq. 12: the foregrounds, far to near, over the background."""
    fused = background
    for z, alpha in zip(foregrounds, alphas, strict=True):
        fused = fused * (1 - alpha) + z * alpha
    return fused


def harmonize(
    config: DreamLayerConfig,
    unet_params: Params,
    kept: Trajectory,
    alpha: Float[Array, "f b H W"],
    blend: Float[Array, "b h w c"],
    contexts: LayerContext,
    steps: Steps,
    guidance: Guidance,
    t_h_end: int,
    keys: Key[Array, " b"] | None = None,
    *,
    place: Place = Place(),
    piece: int | None = None,
    on_piece: OnPiece | None = None,
) -> Trajectory:
    """The second pass, from T_H to 0, of the fused latent ẑ^m in the global slot of the layer batch.

    Args:
        config: the model; `config.harmonize.fuse` says what is laid in.
        unet_params: the UNet's.
        kept: the layer batch's latents over `steps`; the global layer's are not used.
        alpha: the foregrounds' I_α in [0, 1], at the picture's resolution.
        blend: E(B), the `latent_scaled` of the layers' blend.
        contexts: `guidance_contexts`.
        steps: from T_H down (`Steps.below`), as many as `kept` has states.
        guidance: how much, and at which steps.
        t_h_end: T'_H, the last timestep at which the foregrounds are laid in.
        keys: the scenes' keys, for samplers that draw noise; it is the background's.
        place: devices and the dtype of activations.
        piece: the most steps that are handed to the device at a time.
        on_piece: see `OnPiece`.

    Returns:
        The trajectory of ẑ^m, without a layer axis: states (s, b, h, w, c) and the clean latent (b, h, w, c).
    """
    if len(steps) == 0:
        raise ValueError("there is no step from T_H down: harmonisation needs a T_H of at least the smallest timestep")
    alphas = mean_over_cells(alpha, *kept.clean.shape[2:4])[..., None]
    run = begin(kept.states[0, 0], steps, keep=len(steps))
    is_guided, early = guidance.at(steps), early_steps(config, steps, place)
    for start, stop in pieces(piece, is_guided, early):
        weight = np.float32(guidance.weight) if is_guided[start] else None
        parts = {"place": place, "early": bool(early[start])}
        scene = (kept, alphas, blend, contexts, keys)
        run = _advance(config, unet_params, run, scene, steps, weight, np.int32(t_h_end), start, stop, **parts)
        if on_piece is not None:
            on_piece(stop, run.z)
    return Trajectory(states=run.states, clean=run.z)


@partial(jax.jit, static_argnames=("config", "place", "early"))
def _advance(
    config: DreamLayerConfig,
    unet_params: Params,
    run: Run,
    scene: tuple[Trajectory, Array, Array, LayerContext, Array | None],
    steps: Steps,
    weight: Float[Array, ""] | None,
    t_h_end: Int[Array, ""],
    start: Int[Array, ""],
    stop: Int[Array, ""],
    place: Place,
    early: bool,
) -> Run:
    kept, alphas, blend, contexts, keys = scene
    covered = (1 - jnp.prod(1 - alphas, axis=0)) ** COVERAGE_POWER
    is_layer = (jnp.arange(len(kept.clean)) < len(kept.clean) - 1).astype(jnp.float32).reshape(-1, 1, 1, 1, 1)
    known = KnownTrajectory(trajectory=kept, mask=jnp.broadcast_to(is_layer, (*kept.clean.shape[:-1], 1)))
    background_noise = noise_of(kept.states[0, 0], kept.clean[0], steps.alpha_t[0])

    def put(z: Array, at: Steps, i: Array) -> Array:
        if config.harmonize.fuse == "kept":
            fused = fuse(z, kept.states[i, 1:-1], alphas)
        else:
            fused = fuse(z, add_noise(at.alpha_t, blend, background_noise)[None], covered[None])
        return jnp.where(at.t >= t_h_end, fused, z)

    def network(z: Array, at: Steps, i: Array) -> tuple[Array, None]:
        if not config.layered.global_hears:
            alone, t = jax.tree.map(lambda x: x[-1:], contexts), jnp.broadcast_to(at.t, (1, len(z)))
            return guided_prediction(config, unet_params, z[None], t, alone, weight, place, guided=False, maps=False)[0][0], None
        seen, t = as_seen(config, jnp.concatenate([kept.states[i, :-1], z[None]]), at.t, known)
        prediction, _ = guided_prediction(config, unet_params, seen, t, contexts, weight, place, guided=early, maps=False)
        return prediction[-1], None

    every_layer = fresh_noise(keys, kept.clean.shape, config.layered.same_noise)
    solver = sampler(config.schedule.prediction_type, network, put, lambda at: every_layer(at)[0])
    return advance(run, steps, solver, start, stop)


def decode_change(
    config: DreamLayerConfig, vae_params: Params, clean: Float[Array, "b h w c"], blend: Float[Array, "b h w c"], place: Place = Place()
) -> Float[Array, "b H W 3"]:
    """What harmonisation changed, in pixels: D(ẑ_0) − D(E(B)), `blend` being E(B), B the blend (Eq. 1).

    The composite is B plus this. What the autoencoder loses is in both decoded pictures alike, so the layers' own detail stays.
    """
    return decode_latents(config, vae_params, clean, place) - decode_latents(config, vae_params, blend, place)
