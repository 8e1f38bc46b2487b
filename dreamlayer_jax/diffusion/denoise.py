"""A run over the layer batch with classifier-free guidance (paper §9): generation, completion and decomposition.

Any part of the layer batch may be *known*, such as the latent of a given layer: before every step it is put where its own trajectory is
then, and only the rest is denoised. The rest sees it through layer-shared attention. A model trained with given layers
(`LayeredConfig.given_clean`) sees those that are known whole as they are, clean and at t = 0, at every step.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Key

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.diffusion.guidance import Guidance, guided, pieces
from dreamlayer_jax.diffusion.loop import Run, advance, begin, sampler
from dreamlayer_jax.diffusion.noise import fresh_noise
from dreamlayer_jax.diffusion.predict import encode_layers, predict
from dreamlayer_jax.diffusion.schedule import add_noise
from dreamlayer_jax.diffusion.steps import Steps
from dreamlayer_jax.layer_axis import LayerContext
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.models.unet import UNetOutput
from dreamlayer_jax.place import Place
from dreamlayer_jax.prompts import TokenBatch, doubled

OnPiece = Callable[[int, Array], None]
"""Is told the number of steps that were handed to the device, and the latent that they will end in."""


@flax.struct.dataclass
class Trajectory:
    """Where a layer batch is before each of the last `s` steps of a run, and after the last."""

    states: Float[Array, "s l b h w c"]
    clean: Float[Array, "l b h w c"]

    def last(self, steps: int) -> Trajectory:
        """The trajectory over the last `steps` steps; all of it if there are no more."""
        return self.replace(states=self.states[max(0, len(self.states) - steps) :])


@flax.struct.dataclass
class KnownTrajectory:
    """Which part of the layer batch is known (`mask` 1), and its trajectory."""

    trajectory: Trajectory
    mask: Float[Array, "l b h w 1"]


@flax.struct.dataclass
class Denoised:
    """The trajectory, and each layer's context map M_G^{f,N} as a mean over the steps that made it (`map_steps`; zero without CACA)."""

    trajectory: Trajectory
    context_maps: Float[Array, "l b mh mw"]


def noised(clean: Float[Array, "*n"], noise: Float[Array, "*n"], steps: Steps) -> Trajectory:
    """The straight trajectory of a known latent: √ᾱ_t z_0 + √(1 − ᾱ_t) ε, one ε for all t."""
    alpha = jnp.asarray(steps.alpha_t, jnp.float32)
    return Trajectory(states=jax.vmap(lambda alpha: add_noise(alpha, clean, noise))(alpha), clean=clean)


@partial(jax.jit, static_argnames=("config", "dtype"))
def _contexts(
    config: DreamLayerConfig, params: Params, tokens: TokenBatch, empty_ids: Array, negative_ids: Array | None, dtype: Any
) -> LayerContext:
    prompted = encode_layers(config, params, tokens.ids, tokens.words, empty_ids, sentence=tokens.sentence, dtype=dtype)
    if negative_ids is None:
        return prompted
    # Encoded as if it were the empty prompt, the negative one is every layer's, and the whole of the global prompt.
    negative = jnp.broadcast_to(negative_ids, tokens.ids.shape)
    return doubled(encode_layers(config, params, negative, jnp.zeros_like(tokens.words), negative_ids, dtype=dtype), prompted)


def guidance_contexts(
    config: DreamLayerConfig,
    params: Params,
    tokens: TokenBatch,
    empty_ids: Int[Array, " t"],
    guidance: Guidance,
    negative_ids: Int[Array, " t"] | None = None,
    place: Place = Place(),
) -> LayerContext:
    """Contexts of [without prompts, with prompts] along `b`, or, where nothing is guided, of those with prompts alone.

    `params` needs "text_encoder" and "layer_assign"; `negative_ids` are the tokens of what guidance leads away from, the empty prompt's by
    default.
    """
    needed = {name: params[name] for name in ("text_encoder", "layer_assign")}
    negative = (empty_ids if negative_ids is None else negative_ids) if guidance.is_on else None
    return _contexts(config, needed, tokens, empty_ids, negative, place.dtype)


def guided_prediction(
    config: DreamLayerConfig,
    unet_params: Params,
    z: Float[Array, "l b h w c"],
    t: Int[Array, "l b"],
    contexts: LayerContext,
    weight: Float[Array, ""] | None,
    place: Place = Place(),
    **parts: bool,
) -> tuple[Float[Array, "l b h w c"], UNetOutput]:
    """The prediction, and the network's own output for the prompts; without a weight, the unconditional half is not run.

    `parts` are `predict`'s: whether Eq. 9 and the context maps are in the program.
    """
    b = z.shape[1]
    if weight is None:
        out = predict(config, unet_params, z, t, prompted_half(contexts, b), place, **parts)
        return out.sample, out
    out = predict(config, unet_params, jnp.concatenate([z, z], axis=1), jnp.concatenate([t, t], axis=1), contexts, place, **parts)
    return guided(out.sample, weight, axis=1), jax.tree.map(lambda x: x[:, b:], out)


def prompted_half(contexts: LayerContext, b: int) -> LayerContext:
    """The contexts of `b` scenes with their prompts, out of those that are doubled for guidance or are not."""
    return jax.tree.map(lambda x: x[:, -b:], contexts.replace(role=None)).replace(role=contexts.role)


@partial(jax.jit, static_argnames=("config", "place", "early", "maps"))
def _advance(
    config: DreamLayerConfig,
    unet_params: Params,
    run: Run,
    contexts: LayerContext,
    steps: Steps,
    weight: Float[Array, ""] | None,
    known: KnownTrajectory | None,
    keys: Key[Array, " b"] | None,
    start: Int[Array, ""],
    stop: Int[Array, ""],
    place: Place,
    early: bool,
    maps: bool,
) -> Run:
    def network(z: Array, at: Steps, i: Array) -> tuple[Array, Array]:
        seen, t = as_seen(config, z, at.t, known)
        prediction, out = guided_prediction(config, unet_params, seen, t, contexts, weight, place, guided=early, maps=maps)
        return prediction, jnp.zeros_like(run.summed) if out.maps is None else out.maps.in_global

    def put(z: Array, at: Steps, i: Array) -> Array:
        return z if known is None else lay(known.trajectory.states[i], z, known.mask)

    noise = fresh_noise(keys, run.z.shape, config.layered.same_noise)
    return advance(run, steps, sampler(config.schedule.prediction_type, network, put, noise), start, stop)


def denoise(
    config: DreamLayerConfig,
    unet_params: Params,
    z: Float[Array, "l b h w c"],
    contexts: LayerContext,
    steps: Steps,
    guidance: Guidance,
    known: KnownTrajectory | None = None,
    keys: Key[Array, " b"] | None = None,
    *,
    place: Place = Place(),
    keep: int | None = None,
    piece: int | None = None,
    on_piece: OnPiece | None = None,
) -> Denoised:
    """Takes the steps of a run.

    What is known is put in place before each step, not after the last: the caller lays `known.trajectory.clean` over a finished run.

    Args:
        config: the model.
        unet_params: the UNet's.
        z: where the run begins.
        contexts: `guidance_contexts`.
        steps: of the run.
        guidance: how much, and at which steps.
        known: its trajectory has a state for each step.
        keys: the scenes' keys, for samplers that draw noise.
        place: devices and the dtype of activations.
        keep: the trajectory is kept over so many last steps; all by default.
        piece: the most steps that are handed to the device at a time; all that are alike by default.
        on_piece: see `OnPiece`.
    """
    sides = [side >> config.layered.context_block if config.layered.context_map else 1 for side in z.shape[2:4]]
    run = begin(z, steps, keep=len(steps) if keep is None else keep, summed=jnp.zeros((*z.shape[:2], *sides)))
    is_guided, early, mapped = guidance.at(steps), early_steps(config, steps, place), map_steps(config, steps, place)
    for start, stop in pieces(piece, is_guided, early, mapped):
        weight = np.float32(guidance.weight) if is_guided[start] else None
        parts = {"place": place, "early": bool(early[start]), "maps": bool(mapped[start])}
        run = _advance(config, unet_params, run, contexts, steps, weight, known, keys, start, stop, **parts)
        if on_piece is not None:
            on_piece(stop, run.z)
    return Denoised(trajectory=Trajectory(states=run.states, clean=run.z), context_maps=run.summed / mapped.sum())


def early_steps(config: DreamLayerConfig, steps: Steps, place: Place) -> Bool[np.ndarray, " s"]:
    """Which steps are taken by a program that has Eq. 9 in it: those with t >= T_G.

    On one device Eq. 9 costs less in every later step than the second program costs to compile, so there it is all of them, if any.
    """
    acts = np.asarray(steps.t) >= config.layered.t_guided if config.layered.guided else np.zeros(len(steps), bool)
    return acts if place.is_spread else np.full(len(steps), acts.any())


def map_steps(config: DreamLayerConfig, steps: Steps, place: Place) -> Bool[np.ndarray, " s"]:
    """Which steps make context maps: all of them, but over devices those alone in which Eq. 9 uses them, if there are any.

    After T_G nothing of the maps is then exchanged, and what remains between the devices is LSSA's keys and values.
    """
    early = early_steps(config, steps, place)
    return early if place.is_spread and early.any() else np.ones(len(steps), bool)


def as_seen(
    config: DreamLayerConfig, z: Float[Array, "l b h w c"], t: Int[Array, ""], known: KnownTrajectory | None
) -> tuple[Float[Array, "l b h w c"], Int[Array, "l b"]]:
    """What the network is shown, and at which timesteps, where `z` and `t` are the run's."""
    t = jnp.broadcast_to(t, z.shape[:2])
    if known is None:
        return z, t
    whole = (known.mask.min((2, 3, 4)) == 1) & config.layered.given_clean
    return jnp.where(whole[..., None, None, None], known.trajectory.clean, z), jnp.where(whole, 0, t)


def lay(known: Float[Array, "*n"], z: Float[Array, "*n"], mask: Float[Array, "*#n"]) -> Float[Array, "*n"]:
    """`known` where `mask` is 1, `z` where it is 0."""
    return known * mask + z * (1 - mask)
