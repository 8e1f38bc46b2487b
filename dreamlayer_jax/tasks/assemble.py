"""The pieces of a `LayeredImage`: its layers, context maps, and the latents kept for later edits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.diffusion.denoise import Trajectory
from dreamlayer_jax.diffusion.steps import Steps
from dreamlayer_jax.layer_axis import Role
from dreamlayer_jax.scene import KeptLatents, Layer


def as_layers(prompts: Sequence[str], rgba_straight: UInt8[np.ndarray, "k h w 4"]) -> tuple[Layer, ...]:
    """Background first, then the foregrounds."""
    return tuple(
        Layer(prompt=prompt, role=Role.FOREGROUND if i else Role.BACKGROUND, rgba_straight=pixels)
        for i, (prompt, pixels) in enumerate(zip(prompts, rgba_straight, strict=True))
    )


def keep(trajectory: Trajectory, steps: Steps, scene: int = 0) -> KeptLatents:
    """One scene's latents over `steps`, the last of the trajectory's."""
    states = trajectory.states[len(trajectory.states) - len(steps) :, :, scene]
    return KeptLatents(
        t=np.asarray(steps.t, np.int32), states=np.asarray(states, np.float32), clean=np.asarray(trajectory.clean[:, scene], np.float32)
    )


def foreground_maps(context_maps: Float[Array, "l b mh mw"], scene: int = 0) -> Float[np.ndarray, "f mh mw"]:
    """The foregrounds' maps of one scene."""
    return np.asarray(context_maps[1:-1, scene], np.float32)
