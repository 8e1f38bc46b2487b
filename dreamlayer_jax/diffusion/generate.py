"""Text to layers (paper §9): DDIM over the layer batch with classifier-free guidance, one jitted scan."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.diffusion.ddim import ddim_step
from dreamlayer_jax.diffusion.guidance import guided
from dreamlayer_jax.diffusion.predict import Params, encode_layers, predict
from dreamlayer_jax.diffusion.schedule import alphas_cumprod, final_alpha_cumprod, timesteps
from dreamlayer_jax.layer_axis import LayerContext
from dreamlayer_jax.prompts import TokenBatch, doubled


@flax.struct.dataclass
class Steps:
    """The part of a sampling run that is still to be done, noisiest first."""

    t: Int[Array, " s"]
    alpha_t: Float[Array, " s"]
    alpha_next: Float[Array, " s"]


@flax.struct.dataclass
class GeneratedLatents:
    """Clean latents of the layer batch, and each layer's context map M_G^{f,N} as a mean over the steps."""

    latents: Float[Array, "l b h w c"]
    context_maps: Float[Array, "l b mh mw"]


def ddim_steps(config: DreamLayerConfig, steps: int) -> Steps:
    """Timesteps with their ᾱ before and after each step."""
    t = timesteps(config.schedule, steps)
    alpha = np.asarray(alphas_cumprod(config.schedule))
    previous = t - config.schedule.num_train_timesteps // steps
    alpha_next = np.where(previous >= 0, alpha[np.maximum(previous, 0)], final_alpha_cumprod(config.schedule))
    return Steps(t=t, alpha_t=alpha[t], alpha_next=alpha_next.astype(np.float32))


def starting_noise(config: DreamLayerConfig, rng: Array, layers: int, batch: int, height: int, width: int) -> Float[Array, "l b h w c"]:
    """z_T: independent noise for every layer, or the same for all (`LayeredConfig.same_noise`). Sides in pixels."""
    down = config.vae.downscale
    drawn = 1 if config.layered.same_noise else layers
    z = jax.random.normal(rng, (drawn, batch, height // down, width // down, config.unet.in_channels))
    return jnp.broadcast_to(z, (layers, *z.shape[1:]))


@partial(jax.jit, static_argnames=("config",))
def guidance_contexts(config: DreamLayerConfig, params: Params, ids: Array, words: Array, empty_ids: Array) -> LayerContext:
    """Contexts of [without prompts, with prompts] along `b`; `params` needs "text_encoder" and "layer_assign"."""
    empty = jnp.broadcast_to(empty_ids, ids.shape)
    return doubled(
        encode_layers(config, params, empty, jnp.zeros_like(words), empty_ids), encode_layers(config, params, ids, words, empty_ids)
    )


@partial(jax.jit, static_argnames=("config",))
def denoise(
    config: DreamLayerConfig,
    unet_params: Params,
    z: Float[Array, "l b h w c"],
    contexts: LayerContext,
    steps: Steps,
    guidance: Float[Array, ""],
) -> tuple[Float[Array, "l b h w c"], Float[Array, "s l b mh mw"]]:
    """Runs the given DDIM steps; `contexts` are doubled for guidance. Returns the latents and each step's context maps."""

    def step(z: Array, now: Steps) -> tuple[Array, Array]:
        t = jnp.broadcast_to(now.t, (2 * z.shape[1],))
        out = predict(config, unet_params, jnp.concatenate([z, z], axis=1), t, contexts)
        prediction = guided(out.sample, guidance, axis=1)
        z = ddim_step(config.schedule.prediction_type, z, prediction, now.alpha_t, now.alpha_next)
        maps = out.maps.in_global[:, z.shape[1] :] if out.maps is not None else jnp.zeros((*z.shape[:2], 1, 1))
        return z, maps

    return jax.lax.scan(step, z, steps)


def generate_layers(
    config: DreamLayerConfig,
    params: Params,
    tokens: TokenBatch,
    empty_ids: Int[Array, " t"],
    rng: Array,
    steps: int = 50,
    guidance: float = 7.5,
    size: tuple[int, int] | None = None,
    on_step: Callable[[int], None] | None = None,
) -> GeneratedLatents:
    """Text to layers (paper §9).

    Args:
        config: the model.
        params: "unet", "text_encoder" and "layer_assign".
        tokens: of k layers, background first, b scenes.
        empty_ids: token ids of the empty prompt.
        rng: key of the starting noise.
        steps: DDIM steps, 1 … T.
        guidance: classifier-free guidance weight; 1 is none.
        size: height and width in pixels; the model's own by default.
        on_step: called with the number of steps done, about ten times; the scan is then run in that many equal pieces.
    """
    height, width = size or (config.sample_size, config.sample_size)
    k, batch = tokens.words.shape
    contexts = guidance_contexts(
        config, {"text_encoder": params["text_encoder"], "layer_assign": params["layer_assign"]}, tokens.ids, tokens.words, empty_ids
    )
    z = starting_noise(config, rng, k + 1, batch, height, width)
    run = ddim_steps(config, steps)
    piece = steps if on_step is None else max(n for n in range(1, max(1, steps // 10) + 1) if steps % n == 0)
    total = 0.0
    for done in range(0, steps, piece):
        now = jax.tree.map(lambda x, done=done: x[done : done + piece], run)
        z, maps = denoise(config, params["unet"], z, contexts, now, jnp.float32(guidance))
        total = total + maps.sum(axis=0)
        if on_step is not None:
            jax.block_until_ready(z)
            on_step(done + piece)
    return GeneratedLatents(latents=z, context_maps=total / steps)
