"""Where foregrounds go that were made by themselves: to where the whole picture has them.

A foreground that knows of nothing else stands large in the middle. The whole picture, made beside it from all the prompts, says by its
context map where it would be: the foreground is scaled and moved to the box of what is over ½ there, and keeps its noise.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from dreamlayer_jax.diffusion.denoise import Trajectory, noised
from dreamlayer_jax.diffusion.generate import GeneratedLatents
from dreamlayer_jax.diffusion.schedule import noise_of
from dreamlayer_jax.diffusion.steps import Steps
from dreamlayer_jax.editing.placement import CUT, IN_PLACE, Placement
from dreamlayer_jax.model import Model
from dreamlayer_jax.tasks.given import encode_layers_on_grey

THERE = 0.5  # of a context map in [0, 1]
SMALLEST = 0.1  # of its own size: a map that lights a single cell is no place to vanish in


def placement_by_map(context_map: Float[np.ndarray, "mh mw"], alpha: UInt8[np.ndarray, "h w"]) -> Placement:
    """Brings what `alpha` shows into the map's box: as large as fits and at most as it is, in its middle, on its lower edge.

    In place where the map says nothing or the layer is empty.
    """
    there = context_map > THERE
    if not there.any() or (alpha < CUT).all():
        return IN_PLACE
    height, width = (side / cells for side, cells in zip(alpha.shape, context_map.shape, strict=True))
    rows, columns = np.flatnonzero(there.any(axis=1)), np.flatnonzero(there.any(axis=0))
    left, top, right, bottom = columns[0] * width, rows[0] * height, (columns[-1] + 1) * width, (rows[-1] + 1) * height
    own_left, own_top, own_right, own_bottom = IN_PLACE.box(alpha)
    fitting = min((right - left) / (own_right - own_left), (bottom - top) / (own_bottom - own_top))
    scale = float(np.clip(fitting, SMALLEST, 1.0))
    shift_x, shift_y = (left + right) / 2 - scale * (own_left + own_right) / 2, bottom - scale * own_bottom
    return Placement(scale=scale, shift_x=float(shift_x), shift_y=float(shift_y))


def arranged(
    model: Model, rgba: UInt8[np.ndarray, "k b H W 4"], made: GeneratedLatents, steps: Steps, foregrounds: set[int]
) -> tuple[UInt8[np.ndarray, "k b H W 4"], Trajectory]:
    """The layers with these foregrounds of each scene in their places, and their trajectory over `steps`, which `made` was kept over."""
    rgba, clean, states = rgba.copy(), np.array(made.trajectory.clean), np.array(made.trajectory.states)
    for f in sorted(foregrounds):
        for n in range(rgba.shape[1]):
            placement = placement_by_map(np.asarray(made.context_maps[f, n]), rgba[f, n, ..., 3])
            if placement.is_identity:
                continue
            rgba[f, n] = placement.move(rgba[f, n])
            before = clean[f, n]
            clean[f, n] = encode_layers_on_grey(model, rgba[f, n][None])[0]
            if len(states):
                own = np.asarray(noise_of(states[0, f, n], before, np.float32(steps.alpha_t[0])))
                moved = jnp.asarray(placement.carry(own, rgba.shape[2:4]))
                states[:, f, n] = np.asarray(noised(jnp.asarray(clean[f, n]), moved, steps).states)
    return rgba, Trajectory(states=jnp.asarray(states), clean=jnp.asarray(clean))
