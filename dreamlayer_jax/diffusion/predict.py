"""The network applied to a whole layer batch: prompts to `LayerContext`, and the UNet mapped over the layer axis."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.layer_axis import AxisNames, LayerContext, map_layers
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.models.text_encoder import CLIPTextModel
from dreamlayer_jax.models.unet import UNet2DCondition, UNetOutput
from dreamlayer_jax.prompts import layer_contexts


def encode_layers(
    config: DreamLayerConfig,
    params: Params,
    ids: Int[Array, "k b t"],
    words: Int[Array, "k b"],
    empty_ids: Int[Array, " t"],
    valid: Bool[Array, "k b"] | None = None,
) -> LayerContext:
    """Token ids of the layers' prompts to the `LayerContext` of the layer batch (paper §2). Needs "text_encoder" and "layer_assign"."""
    k, b, length = ids.shape
    flat = jnp.concatenate([jnp.asarray(ids).reshape(k * b, length), jnp.asarray(empty_ids)[None]])
    encoded = CLIPTextModel(config.text).apply({"params": params["text_encoder"]}, flat)
    layers = encoded[:-1].reshape(k, b, length, -1)
    return layer_contexts(layers, words, encoded[-1], params["layer_assign"]["embedding"], valid, config.layered.prompt_windows)


def predict(
    config: DreamLayerConfig,
    unet_params: Params,
    z: Float[Array, "l b h w c"],
    t: Int[Array, " b"] | Int[Array, "l b"],
    layers: LayerContext,
    where: str | Mesh = "vmap",
    dtype: Any = jnp.float32,
    remat: bool = False,
) -> UNetOutput:
    """The UNet's prediction for every layer of the layer batch, at one timestep a scene or one a layer; `where` as in `map_layers`.

    `dtype` is that of the activations; `remat` is gradient checkpointing.
    """

    def program(axis_names: AxisNames) -> Any:
        unet = UNet2DCondition(config.unet, config.layered, axis_names, dtype, remat)

        def one_layer(params: Params, z: Array, t: Array, layer: LayerContext) -> UNetOutput:
            control = {} if layer.control is None else {"control": layer.control}
            return unet.apply({"params": params} | control, z, t, layer.prompt, layer)

        return one_layer

    each_t = jnp.broadcast_to(jnp.asarray(t), z.shape[:2])
    return map_layers(program, where)(unet_params, z, each_t, layers)
