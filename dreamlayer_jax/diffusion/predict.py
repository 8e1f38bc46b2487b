"""The network applied to a whole layer batch: prompts to `LayerContext`, and the UNet mapped over the layer axis."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.config import DreamLayerConfig, LayeredConfig, UNetConfig
from dreamlayer_jax.layer_axis import AxisNames, LayerContext, map_layers, pad, pad_contexts, padded_sizes
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.models.text_encoder import CLIPTextModel
from dreamlayer_jax.models.unet import UNet2DCondition, UNetOutput
from dreamlayer_jax.place import Place
from dreamlayer_jax.prompts import Sentence, layer_contexts


def encode_layers(
    config: DreamLayerConfig,
    params: Params,
    ids: Int[Array, "k b t"],
    words: Int[Array, "k b"],
    empty_ids: Int[Array, " t"],
    valid: Bool[Array, "k b"] | None = None,
    sentence: Sentence | None = None,
    dtype: Any = jnp.float32,
) -> LayerContext:
    """Token ids of the layers' prompts to the `LayerContext` of the layer batch (paper §2). Needs "text_encoder" and "layer_assign".

    `dtype` is that of the text tower's activations; what it gives is float32.
    """
    k, b, length = ids.shape
    more = jnp.asarray(empty_ids)[None] if sentence is None else jnp.concatenate([sentence.ids, jnp.asarray(empty_ids)[None]])
    flat = jnp.concatenate([jnp.asarray(ids).reshape(k * b, length), more])
    encoded = CLIPTextModel(config.text, dtype).apply({"params": params["text_encoder"]}, flat)
    layers = encoded[: k * b].reshape(k, b, length, -1)
    whole = None if sentence is None else (encoded[k * b : -1], sentence.start)
    return layer_contexts(layers, words, encoded[-1], params["layer_assign"]["embedding"], valid, config.layered.prompt_windows, whole)


def predict(
    config: DreamLayerConfig,
    unet_params: Params,
    z: Float[Array, "l b h w c"],
    t: Int[Array, " b"] | Int[Array, "l b"],
    layers: LayerContext,
    place: Place = Place(),
    *,
    remat: bool = False,
    guided: bool = True,
    maps: bool = True,
) -> UNetOutput:
    """The UNet's prediction for every layer of the layer batch, at one timestep a scene or one a layer. Results are float32.

    Args:
        config: the model.
        unet_params: the UNet's.
        z: noisy `latent_scaled`.
        t: 0 … T - 1.
        layers: what each layer is, and its prompt.
        place: devices and the dtype of activations. Layers and scenes that do not divide its mesh are padded; no layer sees the padding.
        remat: gradient checkpointing.
        guided: False leaves Eq. 9 out of the program, for steps whose t is under T_G.
        maps: whether the context maps are wanted; with neither, nothing of them is computed or exchanged.
    """
    there, b = z.shape[:2]
    sizes = padded_sizes(there, b, place)
    each_t = jnp.broadcast_to(jnp.asarray(t), z.shape[:2])
    layers = pad_contexts(layers, *sizes).replace(guided=guided, maps=maps, exchange=place.exchange)
    mapped = map_layers(_program(config.unet, config.layered, place.dtype, remat), place)
    out = mapped(unet_params, pad(z, *sizes), pad(each_t, *sizes), layers)
    return jax.tree.map(lambda x: x[:there, :b].astype(jnp.float32), out)


@lru_cache(maxsize=16)
def _program(unet: UNetConfig, layered: LayeredConfig | None, dtype: Any, remat: bool) -> Callable[[AxisNames], Callable[..., UNetOutput]]:
    """The network for one layer, once the names of the layer axis are known: the same object for the same network."""

    def program(axis_names: AxisNames) -> Callable[..., UNetOutput]:
        network = UNet2DCondition(unet, layered, axis_names, dtype, remat)

        def one_layer(params: Params, z: Array, t: Array, layer: LayerContext) -> UNetOutput:
            control = {} if layer.control is None else {"control": layer.control}
            return network.apply({"params": params} | control, z, t, layer.prompt, layer)

        return one_layer

    return program
