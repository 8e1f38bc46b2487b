"""The two programs that are compiled, on abstract arguments: the paper's training step and a guided sampling step.

No parameter is made and no picture read: everything is shapes with the places that they lie at.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.diffusion.guidance import guided
from dreamlayer_jax.diffusion.predict import predict
from dreamlayer_jax.layer_axis import LayerContext, roles
from dreamlayer_jax.models.init import param_shapes
from dreamlayer_jax.models.layered import is_trained
from dreamlayer_jax.pipeline import DreamLayer
from dreamlayer_jax.place import Place
from train.configs.paper import PaperTraining
from train.diffusion import DiffusionStage
from train.state import create, split
from train.step import make_gradient


@dataclasses.dataclass(frozen=True)
class Program:
    """A function of abstract arguments that know where they lie, and what stays on the chips beside them meanwhile."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    beside: Any = ()
    """Arrays that the function does not read: the optimizer's state and the average."""
    out_shardings: Any = None


def training(config: DreamLayerConfig, place: Place, scenes: int, layers: int) -> Program:
    """The gradient of the paper's recipe (train/configs/paper.py) for `scenes` scenes of `layers` images, the global one among them."""
    recipe = PaperTraining(base="", data=Path())
    stage = DiffusionStage(
        config=config,
        tokenizer=DreamLayer.from_pretrained("pocket").tokenizer,  # no prompt is read: any will do
        sources={},
        picture_prompts=(),
        vae_params={},
        steps=1,
        learns="paper",
        place=place,
        remat=recipe.remat,
        losses=recipe.losses,
        optimizer_config=recipe.optimizer,
    )
    trainable, frozen = split(param_shapes(config, ("unet", "text_encoder", "layer_assign")), is_trained)
    frozen = _lying(_in_dtype(frozen, place.dtype), place)
    state = _lying(jax.eval_shape(lambda params: create(params, stage.optimizer(), 0), trainable), place)
    latent, k, tokens = config.sample_size // config.vae.downscale, layers - 1, config.text.max_position_embeddings
    batch = {
        "latents": jax.ShapeDtypeStruct((scenes, layers, latent, latent, config.vae.latent_channels), jnp.float32),
        "alpha": jax.ShapeDtypeStruct((scenes, k - 1, latent, latent), jnp.float32),
        "ids": jax.ShapeDtypeStruct((scenes, k, tokens), jnp.int32),
        "words": jax.ShapeDtypeStruct((scenes, k), jnp.int32),
    }
    batch = jax.tree.map(lambda x: _at(x, place.of_scenes), batch)
    of_gradient = None if place.mesh is None else (jax.tree.map(lambda x: x.sharding, state.params), place.replicated)
    return Program(make_gradient(stage), (state, frozen, batch), (state.ema, state.opt_state), of_gradient)


def sampling(config: DreamLayerConfig, place: Place, scenes: int, layers: int, guided_phase: bool = True) -> Program:
    """One step with classifier-free guidance: the network on both halves, and the step's prediction.

    `guided_phase` False is the program of the steps under T_G, in which nothing of Eq. 9 and of the context maps is left.
    """
    latent, tokens = config.sample_size // config.vae.downscale, config.text.max_position_embeddings * config.layered.prompt_windows
    both = 2 * scenes
    words = jax.ShapeDtypeStruct((layers, both, tokens), bool)
    prompt = jax.ShapeDtypeStruct((*words.shape, config.text.hidden_size), jnp.float32)
    contexts = LayerContext(role=jnp.zeros(layers, jnp.int32), valid=None, prompt=prompt, own=words, span=words)

    def step(params: Any, z: jax.Array, t: jax.Array, contexts: LayerContext) -> jax.Array:
        contexts = contexts.replace(role=roles(layers))
        out = predict(config, params, jnp.concatenate([z, z], 1), jnp.full(both, t), contexts, place, guided=guided_phase, maps=False)
        return guided(out.sample, config.guidance, axis=1)

    z = jax.ShapeDtypeStruct((layers, scenes, latent, latent, config.vae.latent_channels), jnp.float32)
    arguments = (z, jax.ShapeDtypeStruct((), jnp.int32), contexts.replace(role=jax.ShapeDtypeStruct((layers,), jnp.int32)))
    arguments = jax.tree.map(lambda x: _at(x, place.replicated), arguments)
    params = param_shapes(config, ("unet",))["unet"]
    params = _in_dtype(params, place.dtype)
    return Program(step, (_lying(params, place), *arguments), out_shardings=place.replicated)


def _in_dtype(tree: Any, dtype: Any) -> Any:
    """Kernels as they may be kept where they do not learn: in the dtype that is computed in."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype if x.ndim > 1 else x.dtype), tree)


def _lying(tree: Any, place: Place) -> Any:
    shardings = place.of_parameters(tree)
    return tree if place.mesh is None else jax.tree.map(_at, tree, shardings)


def _at(x: Any, sharding: NamedSharding | None) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)


def bytes_a_chip(tree: Any) -> int:
    """Of arrays that know where they lie."""
    leaves = [x for x in jax.tree.leaves(tree) if hasattr(x, "dtype")]
    shapes = [x.sharding.shard_shape(x.shape) if x.sharding is not None else x.shape for x in leaves]
    return sum(math.prod(shape) * x.dtype.itemsize for shape, x in zip(shapes, leaves, strict=True))
