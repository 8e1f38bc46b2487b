"""DDIM inversion of a picture in every slot of the layer batch (paper Appendix E, Eq. 14-16).

Eq. 14-16: M(i, j) = 0 for the global layer's keys and −∞ for all others, so that in layer-shared attention every slot sees the picture
alone: it attends to the global layer's keys, and to no others.

A step up solves ddim_step(z_s) = z_t for z_s: the prediction is first made at z_t (as DDIMInverseScheduler does), then at the z_s it gave.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Float

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.diffusion.denoise import Trajectory
from dreamlayer_jax.diffusion.loop import Step, advance, begin
from dreamlayer_jax.diffusion.predict import predict
from dreamlayer_jax.diffusion.schedule import clean_and_noise
from dreamlayer_jax.diffusion.solvers.ddim import ddim_step
from dreamlayer_jax.diffusion.solvers.linear import Memory
from dreamlayer_jax.diffusion.steps import Steps
from dreamlayer_jax.layer_axis import LayerContext
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.place import Place


def see_global_only(layers: LayerContext) -> LayerContext:
    """The layer batch in which only the global layer's keys are seen (Eq. 14-16)."""
    return layers.replace(keys="global")


@partial(jax.jit, static_argnames=("config", "place", "refinements"))
def invert(
    config: DreamLayerConfig,
    unet_params: Params,
    clean: Float[Array, "l b h w c"],
    layers: LayerContext,
    steps: Steps,
    place: Place = Place(),
    refinements: int = 2,
) -> Trajectory:
    """The trajectory that DDIM, at guidance 1 and with the same `layers`, would take to `clean`.

    Args:
        clean: `latent_scaled` of every slot.
        layers: prompts of the slots; for the paper's masked inversion, `see_global_only(layers)`.
        steps: the sampling run's, noisiest first.
        place: devices and the dtype of activations.
        refinements: predictions made again at each step; 0 is plain DDIM inversion.

    Returns:
        States noisiest first, as `denoise` gives them: its first is where sampling starts from.
    """
    kind = config.schedule.prediction_type
    parts = {"place": place, "maps": False}
    up = steps[::-1]  # each from ᾱ_next to ᾱ_t

    def step(at: Steps, i: Array, z: Array, memory: Memory) -> Step:
        t = jnp.broadcast_to(at.t, z.shape[1:2])
        prediction = predict(config, unet_params, z, t, layers, **parts).sample
        first = ddim_step(kind, z, prediction, at.alpha_next, at.alpha_t)

        def refine(_: Array, z_s: Array) -> Array:
            _, noise = clean_and_noise(kind, at.alpha_t, z_s, predict(config, unet_params, z_s, t, layers, **parts).sample)
            return ddim_step("epsilon", z, noise, at.alpha_next, at.alpha_t)

        z_s = jax.lax.fori_loop(0, refinements, refine, first)
        return Step(z=z_s, state=z_s, memory=memory, summed=None)

    run = advance(begin(clean, up, keep=len(up)), up, step)
    return Trajectory(states=run.states[::-1], clean=clean)
