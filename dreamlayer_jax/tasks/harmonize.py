"""Harmonisation (IRH, paper §3.3): its window, and the composite of one scene or many."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from dreamlayer_jax.compositing import composite, from_uint8, to_uint8
from dreamlayer_jax.diffusion.denoise import Steps, Trajectory, ddim_steps, guidance_contexts
from dreamlayer_jax.diffusion.encode import encode_pictures
from dreamlayer_jax.diffusion.harmonize import decode_change, harmonize
from dreamlayer_jax.model import Model
from dreamlayer_jax.prompts import TokenBatch
from dreamlayer_jax.request import RequestError
from dreamlayer_jax.scene import KeptLatents

Window = tuple[int, int]


def check_window(window: Window, timesteps: int) -> None:
    """Raises `RequestError` unless (T_H, T'_H) is a window of the schedule; (0, 0) is no harmonisation."""
    start, end = window
    if not 0 <= end <= start <= timesteps:
        raise RequestError(f"the harmonisation window is T_H {start}, T'_H {end}; give {timesteps} >= T_H >= T'_H >= 0")


def window_steps(model: Model, steps: int, window: Window) -> Steps:
    """The steps of the window's pass, from T_H down. Raises `RequestError` if there is none."""
    run = ddim_steps(model.config, steps)
    if window[0] < run.t[-1]:
        raise RequestError(f"T_H is {window[0]}, but the last of {steps} steps is at timestep {int(run.t[-1])}: give that at least")
    return run.below(window[0])


def harmonized(
    model: Model,
    prompts: list[str],
    kept: KeptLatents,
    rgba: UInt8[np.ndarray, "k H W 4"],
    *,
    steps: int,
    guidance: float,
    window: Window,
) -> tuple[Float[np.ndarray, "H W 3"], KeptLatents]:
    """IRH (Eq. 12): what it changes in the blend of the layers, and the kept latents with its own in the global slot.

    Raises:
        RequestError: the kept latents begin below T_H.
    """
    run = window_steps(model, steps, window)
    if len(run.t) > len(kept.t):
        begin = int(kept.t[0]) if len(kept.t) else 0
        raise RequestError(f"T_H is {window[0]}, but the kept latents begin at timestep {begin}: give that at most")
    trajectory = Trajectory(states=jnp.asarray(kept.states[-len(run.t) :, :, None]), clean=jnp.asarray(kept.clean[:, None]))
    change, fused = harmonized_batch(model, model.tokens(prompts), trajectory, rgba[:, None], run, guidance=guidance, t_end=window[1])
    states = kept.states[-len(run.t) :].copy()
    states[:, -1] = np.asarray(fused.states[:, 0])
    clean = kept.clean.copy()
    clean[-1] = np.asarray(fused.clean[0])
    return np.asarray(change[0]), KeptLatents(t=np.asarray(run.t, np.int32), states=states, clean=clean)


def harmonized_batch(
    model: Model,
    tokens: TokenBatch,
    kept: Trajectory,
    rgba: UInt8[np.ndarray | jax.Array, "k b H W 4"],
    run: Steps,
    *,
    guidance: float,
    t_end: int,
) -> tuple[Float[jax.Array, "b H W 3"], Trajectory]:
    """IRH of scenes of one layer count: what it changes in the blends, and ẑ^m's trajectory. `kept` has a state for each step of `run`."""
    layers = from_uint8(jnp.asarray(rgba))
    blend = encode_pictures(model.config, model.params["vae"], composite(layers))
    fused = harmonize(
        model.config,
        model.params["unet"],
        kept,
        layers[1:, ..., 3],
        blend,
        guidance_contexts(model.config, model.params, tokens, model.empty_ids),
        jax.tree.map(jnp.asarray, run),
        jnp.float32(guidance),
        t_end=t_end,
    )
    return decode_change(model.config, model.params["vae"], fused.clean, blend), fused


def changed_blend(rgba: UInt8[np.ndarray, "k *b h w 4"], change: Float[np.ndarray, "*b h w 3"]) -> UInt8[np.ndarray, "*b h w 3"]:
    """The composite: Eq. 1 of the layers, and what harmonisation changed in it."""
    return to_uint8(composite(from_uint8(rgba)) + change)
