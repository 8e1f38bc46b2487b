"""Fresh parameters of a whole model, and their shapes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial

import jax
import jax.numpy as jnp

from dreamlayer_jax.config import DreamLayerConfig, LayeredConfig
from dreamlayer_jax.layer_axis import LayerContext, Role
from dreamlayer_jax.models.control import Control
from dreamlayer_jax.models.layer_decoder import LayerDecoder
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.models.text_encoder import CLIPTextModel
from dreamlayer_jax.models.unet import UNet2DCondition
from dreamlayer_jax.models.vae import AutoencoderKL

NETWORKS = ("unet", "vae", "text_encoder", "layer_decoder", "layer_assign")


def networks_of(config: DreamLayerConfig) -> tuple[str, ...]:
    """All networks that a model of this configuration may have."""
    added = config.layered.layer_attention
    return (*NETWORKS, "control") if added and added.control_widths else NETWORKS


def init_params(config: DreamLayerConfig, rng: jax.Array, networks: Sequence[str] = NETWORKS) -> Params:
    """Random parameters of the named networks: "unet", "vae", "text_encoder", "layer_decoder", "layer_assign", "control"."""
    side, down = config.sample_size, config.vae.downscale
    picture = jnp.zeros((1, side, side, config.vae.in_channels))
    latent = jnp.zeros((1, side // down, side // down, config.vae.latent_channels))
    seen = jnp.zeros((*latent.shape[:-1], config.unet.in_channels))
    prompt = jnp.zeros((1, config.text.max_position_embeddings, config.text.hidden_size))
    words = jnp.zeros(prompt.shape[:2], bool)
    layer = LayerContext(role=jnp.int32(Role.BACKGROUND), valid=None, prompt=prompt, own=words, span=words)
    unet = UNet2DCondition(config.unet, config.layered)
    fresh = {
        "unet": lambda key: unet.init(key, seen, jnp.zeros(1, jnp.int32), prompt, layer)["params"],
        "vae": lambda key: AutoencoderKL(config.vae).init(key, picture)["params"],
        "text_encoder": lambda key: CLIPTextModel(config.text).init(key, words.astype(jnp.int32))["params"],
        "layer_decoder": lambda key: LayerDecoder(config.layer_decoder).init(key, picture, latent)["params"],
        "layer_assign": lambda _: init_layer_assign(config),
        "control": lambda key: Control(config.unet, config.layered.layer_attention).init(key, picture)["params"],
    }
    return {name: fresh[name](key) for name, key in zip(networks, jax.random.split(rng, len(networks)), strict=True)}


def param_shapes(config: DreamLayerConfig, networks: Sequence[str] = NETWORKS) -> Params:
    """The tree of `init_params` as shapes and dtypes; makes no weights."""
    return {network: _shapes(_alike(config, network), network) for network in networks}


def _alike(config: DreamLayerConfig, network: str) -> DreamLayerConfig:
    """What decides the shapes alone: models that differ in name, in sampling, or in what the network does not know of are traced once."""
    knows_layers = network in ("unet", "layer_assign", "control")
    return DreamLayerConfig(
        name="any",
        sample_size=config.sample_size,
        unet=config.unet,
        vae=config.vae,
        text=config.text,
        layer_decoder=config.layer_decoder,
        layered=config.layered if knows_layers else LayeredConfig(context_map=False, guided=False),
    )


@cache
def _shapes(config: DreamLayerConfig, network: str) -> Params:
    return jax.eval_shape(partial(init_params, config, networks=(network,)), jax.random.key(0))[network]


def init_layer_assign(config: DreamLayerConfig) -> Params:
    """The zero-initialised layer-assign embedding, one vector a layer slot (background and every foreground)."""
    return {"embedding": jnp.zeros((1 + config.layered.max_foregrounds, config.text.hidden_size))}
