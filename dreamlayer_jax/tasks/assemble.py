"""The pieces of a `LayeredImage`: its layers, context maps, and the latents kept for later edits."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

from dreamlayer_jax.diffusion.denoise import Trajectory, ddim_steps
from dreamlayer_jax.layer_axis import Role
from dreamlayer_jax.model import Model
from dreamlayer_jax.scene import KeptLatents, Layer


def as_layers(prompts: list[str], rgba_straight: UInt8[np.ndarray, "k h w 4"]) -> tuple[Layer, ...]:
    """Background first, then the foregrounds."""
    return tuple(
        Layer(prompt=prompt, role=Role.FOREGROUND if i else Role.BACKGROUND, rgba_straight=pixels)
        for i, (prompt, pixels) in enumerate(zip(prompts, rgba_straight, strict=True))
    )


def keep(model: Model, trajectory: Trajectory, steps: int, t_start: int) -> KeptLatents:
    """The part of one scene's trajectory from T_H down."""
    run = ddim_steps(model.config, steps).below(t_start)
    kept = trajectory.last(len(run.t)) if len(run.t) else trajectory.replace(states=trajectory.states[:0])
    return KeptLatents(
        t=np.asarray(run.t, np.int32), states=np.asarray(kept.states[:, :, 0], np.float32), clean=np.asarray(kept.clean[:, 0], np.float32)
    )


def mean_maps(context_maps: Float[np.ndarray, "l b mh mw"]) -> Float[np.ndarray, "f mh mw"]:
    """The foregrounds' maps of the one scene."""
    return np.asarray(context_maps, np.float32)[1:-1, 0]
