"""Harmonisation (IRH, paper §3.3): its window, and the composites of scenes."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Key, UInt8

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.compositing import composite, from_uint8, to_uint8
from dreamlayer_jax.diffusion.denoise import Trajectory, guidance_contexts
from dreamlayer_jax.diffusion.encode import encode_pictures
from dreamlayer_jax.diffusion.harmonize import decode_change, harmonize
from dreamlayer_jax.diffusion.steps import Steps
from dreamlayer_jax.model import Model
from dreamlayer_jax.request import RequestError, Sampling
from dreamlayer_jax.tasks.compose import compose_of

Window = tuple[int, int]


def check_window(window: Window, timesteps: int) -> None:
    """Raises `RequestError` unless (T_H, T'_H) is a window of the schedule; (0, 0) is no harmonisation."""
    start, end = window
    if not 0 <= end <= start <= timesteps:
        raise RequestError(f"the harmonisation window is T_H {start}, T'_H {end}; give {timesteps} >= T_H >= T'_H >= 0")


def window_steps(steps: Steps, window: Window) -> Steps:
    """The steps of the window's pass, from T_H down. Raises `RequestError` if there is none."""
    last = int(steps.t[-1])
    if window[0] < last:
        raise RequestError(
            f"T_H is {window[0]}, but the last of {len(steps)} steps is at timestep {last}: "
            "give that at least, or more steps, or leave harmonisation out"
        )
    return steps.below(window[0])


def harmonized(
    model: Model,
    scenes: Sequence[Sequence[str]],
    kept: Trajectory,
    rgba: UInt8[Array, "k b H W 4"],
    steps: Steps,
    *,
    sampling: Sampling,
    window: Window,
    keys: Key[Array, " b"],
) -> tuple[Float[Array, "b H W 3"], Trajectory]:
    """IRH (Eq. 12) of scenes of one layer count: what it changes in the blends, and ẑ^m's trajectory.

    Args:
        model: the model.
        scenes: each scene's prompts, background first.
        kept: the layers' latents, a state for each of `steps`.
        rgba: the layers' pixels.
        steps: `window_steps`.
        sampling: how the pass is sampled.
        window: (T_H, T'_H). Where the run has no step between them, the foregrounds are laid in at the first below T_H.
        keys: the scenes' keys.
    """
    config = model.config
    if compose_of(config) == "chain":  # its frames are a layer and the whole picture; several layers become one picture by the plain model
        config = config.without_layer_attention
    layers = from_uint8(jnp.asarray(rgba))
    blend = encode_pictures(config, model.params["vae"], composite(layers), model.place)
    guidance, negative = model.guidance(sampling), model.negative_ids(sampling)
    contexts = guidance_contexts(config, model.params, model.tokens(*scenes), model.empty_ids, guidance, negative, model.place)
    t_h_end = min(window[1], int(steps.t[0]))
    alphas, unet = layers[1:, ..., 3], model.params["unet"]
    fused = harmonize(config, unet, kept, alphas, blend, contexts, steps, guidance, t_h_end, keys, place=model.place)
    return decode_change(config, model.params["vae"], fused.clean, blend, model.place), fused


def changed_blend(rgba: UInt8[np.ndarray, "k *b h w 4"], change: Float[np.ndarray, "*b h w 3"]) -> UInt8[np.ndarray, "*b h w 3"]:
    """The composite: Eq. 1 of the layers, and what harmonisation changed in it."""
    return to_uint8(composite(from_uint8(rgba)) + change)
