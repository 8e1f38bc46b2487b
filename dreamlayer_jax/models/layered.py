"""A plain Stable Diffusion model becomes a layered one (paper §2), and which of its parameters DreamLayer trains.

Foregrounds start with copies of the base's K and V, layer-assign embeddings at zero, context-aware layers as the identity: with LSSA and
Eq. 9 switched off, every layer is then Stable Diffusion on its own prompt.
"""

from __future__ import annotations

import dataclasses
import re
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from dreamlayer_jax.attention.context_map import ContextMaps
from dreamlayer_jax.config import DreamLayerConfig, LayeredConfig
from dreamlayer_jax.layer_axis import LayerContext, Role
from dreamlayer_jax.models.init import init_layer_assign, param_shapes
from dreamlayer_jax.models.params import ParamPath, Params

BASE = ("unet", "vae", "text_encoder")
FOREGROUND = "_foreground"
OF_A_ROLE = (FOREGROUND, "_background", "_global")  # how a kernel's name ends that one role owns
CONTEXT_MAPS = "context_maps"
KEYS_AND_VALUES = ("to_k", "to_v", "to_k" + FOREGROUND, "to_v" + FOREGROUND)


def is_added(path: ParamPath) -> bool:
    """Whether the parameter at `path`, which starts with its network, is DreamLayer's and not the base's."""
    if path[0] in ("layer_assign", "control") or path[:2] == ("unet", CONTEXT_MAPS):
        return True
    return "exchange" in path or any(part.endswith(OF_A_ROLE) for part in path)


def is_copy(path: ParamPath) -> bool:
    """Whether the parameter at `path` is a role's own copy of one of the base's, which is at `copied(path)`."""
    return path[0] == "unet" and any(part.endswith(OF_A_ROLE) for part in path)


def copied(path: ParamPath) -> ParamPath:
    """Where the base has what a role has a copy of at `path`."""
    return tuple(re.sub(f"({'|'.join(OF_A_ROLE)})$", "", part) for part in path)


def trained_copy(params: Params) -> ParamPath | None:
    """One of the roles' kernels that is no longer what the base has; None if there is none, as in a model that nobody trained."""
    flat = flatten_dict(params)
    return next((path for path in flat if is_copy(path) and not np.array_equal(flat[path], flat[copied(path)])), None)


def is_trained(path: ParamPath) -> bool:
    """Whether DreamLayer trains the parameter at `path` (paper §2): both K/V sets of the UNet and all that it adds."""
    return is_added(path) or (path[0] == "unet" and path[-2] in KEYS_AND_VALUES)


def is_attention(path: ParamPath) -> bool:
    """Whether the parameter at `path` is a projection of an attention, self or cross, of the UNet or the text tower."""
    return path[0] in ("unet", "text_encoder") and any("attn" in part for part in path)


def select(params: Params, wanted: Any) -> Params:
    """The branches of a tree of networks whose path `wanted` accepts."""
    return unflatten_dict({path: leaf for path, leaf in flatten_dict(params).items() if wanted(path)})


def base_shapes(config: DreamLayerConfig) -> Params:
    """Shapes of the plain networks "unet", "vae" and "text_encoder"."""
    return select(param_shapes(config, BASE), lambda path: not is_added(path))


def become_layered(config: DreamLayerConfig, base: Params) -> Params:
    """`base`, plain networks, with DreamLayer's own parameters at their start. `base` keeps its arrays and is not copied."""
    flat = flatten_dict(base)
    for path in flatten_dict(param_shapes(config, ("unet",))):
        if path not in flat and path[1] != CONTEXT_MAPS:
            flat[path] = jnp.copy(flat[copied(path)])
    params = unflatten_dict(flat)
    if config.layered.context_map:
        channels = config.unet.block_out_channels[config.layered.context_block]
        params["unet"][CONTEXT_MAPS] = _identity_maps(config.layered, channels, jax.random.key(0))
    params["layer_assign"] = init_layer_assign(config)
    return params


def for_more_foregrounds(config: DreamLayerConfig, params: Params, most: int) -> tuple[DreamLayerConfig, Params]:
    """The model for scenes of up to `most` foregrounds, more than it was trained with.

    Foregrounds beyond the trained ones get the nearest one's layer-assign embedding, and S, the global prompt's tokens, grows in
    proportion to the prompts. ValueError for a model whose layers meet by a file's own attention, which has its own limit.
    """
    layered = config.layered
    if layered.layer_attention is not None:
        raise ValueError(f"the model {config.name!r} has LayerDiffusion's attention, which is made for the number of layers that it has")
    if most <= layered.max_foregrounds:
        return config, params
    known = params["layer_assign"]["embedding"]
    more = jnp.broadcast_to(known[-1:], (most - layered.max_foregrounds, known.shape[1]))
    windows = -(-layered.prompt_windows * (1 + most) // (1 + layered.max_foregrounds))
    config = dataclasses.replace(config, layered=dataclasses.replace(layered, max_foregrounds=most, prompt_windows=windows))
    return config, params | {"layer_assign": {"embedding": jnp.concatenate([known, more])}}


@partial(jax.jit, static_argnums=(0, 1))
def _identity_maps(config: LayeredConfig, channels: int, rng: jax.Array) -> Params:
    """Fresh context-aware layers: their last projection is zero."""
    words = jnp.zeros((1, 1), bool)
    layer = LayerContext(role=jnp.int32(Role.GLOBAL), valid=None, prompt=jnp.zeros((1, 1, 1)), own=words, span=words)
    weights, features = jnp.zeros((1, 2, 2, 1)), jnp.zeros((1, 2, 2, channels))
    return ContextMaps(config).init(rng, weights, features, layer)["params"]
