"""A layer batch steered by a picture: what fg2bg and bg2fg see of the layers that are there already."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Float

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.layer_axis import LayerContext
from dreamlayer_jax.models.control import Control
from dreamlayer_jax.models.params import Params


def steered(config: DreamLayerConfig, params: Params, contexts: LayerContext, rgb_01: Float[Array, "b H W 3"]) -> LayerContext:
    """The frames' contexts with what the scenes' pictures add at every attention, the same in both halves of guidance.

    `params` needs "control"; what is transparent in a picture lies on mid-grey.
    """
    added = _added(config, params["control"], rgb_01 * 2 - 1)
    halves = contexts.own.shape[1] // len(rgb_01)
    return contexts.replace(control=jax.tree.map(lambda c: jnp.concatenate([c] * halves, axis=1), added))


@partial(jax.jit, static_argnames=("config",))
def _added(config: DreamLayerConfig, params: Params, picture_pm1: Float[Array, "b H W 3"]) -> Params:
    return Control(config.unet, config.layered.layer_attention).apply({"params": params}, picture_pm1)
