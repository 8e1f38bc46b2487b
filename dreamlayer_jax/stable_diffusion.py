"""The base model by itself, for notebooks: Stable Diffusion's pieces and its plain text-to-image, one picture a prompt.

Every function takes the loaded model first. Layer-free: foreground keys and values, context maps and shared attention are not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from dreamlayer_jax.compositing import from_uint8, to_uint8
from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.diffusion.ddim import ddim_step
from dreamlayer_jax.diffusion.decode import decode_foregrounds, decode_latents
from dreamlayer_jax.diffusion.denoise import Steps, ddim_steps
from dreamlayer_jax.diffusion.encode import encode_pictures
from dreamlayer_jax.diffusion.guidance import guided
from dreamlayer_jax.model import Model
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.models.text_encoder import CLIPTextModel
from dreamlayer_jax.models.unet import UNet2DCondition
from dreamlayer_jax.prompts import token_ids
from dreamlayer_jax.request import check_size


def encode_prompt(model: Model, prompts: Sequence[str]) -> Float[Array, "b t d"]:
    """The text tower's output for each prompt, cut or padded to the tower's length; what `predict_noise` takes as context."""
    length = model.config.text.max_position_embeddings
    ids = np.full((len(prompts), length), model.tokenizer.pad_token_id, np.int32)
    for row, prompt in zip(ids, prompts, strict=True):
        *words, end = token_ids(model.tokenizer, prompt)
        cut = [*words[: length - 1], end]
        row[: len(cut)] = cut
    return _encode_ids(model.config, model.params["text_encoder"], ids)


def encode_image(model: Model, rgb: UInt8[np.ndarray, "b H W 3"]) -> Float[Array, "b h w c"]:
    """The mean `latent_scaled` of pictures."""
    return encode_pictures(model.config, model.params["vae"], jnp.asarray(from_uint8(np.asarray(rgb))))


def decode_latent(model: Model, latent_scaled: Float[Array, "b h w c"]) -> UInt8[np.ndarray, "b H W 3"]:
    """The pictures of latents."""
    return np.asarray(to_uint8(decode_latents(model.config, model.params["vae"], latent_scaled)))


def decode_layer(model: Model, latent_scaled: Float[Array, "b h w c"], ensembled: bool = False) -> UInt8[np.ndarray, "b H W 4"]:
    """Foregrounds as straight RGBA, by the layer decoder; `ensembled`: the lower median over its eight symmetries, eight times the cost."""
    return np.asarray(to_uint8(decode_foregrounds(model.config, model.decoders(), latent_scaled, ensembled)))


def predict_noise(model: Model, z: Float[Array, "b h w c"], t: Int[Array, " b"], context: Float[Array, "b t d"]) -> Float[Array, "b h w c"]:
    """The UNet's prediction (ε, or what `config.schedule.prediction_type` says) for plain pictures at timesteps `t`."""
    return _predict(model.config, model.params["unet"], z, t, context)


def text_to_image(
    model: Model,
    prompts: Sequence[str],
    *,
    negative_prompt: str = "",
    seed: int = 0,
    steps: int = 50,
    guidance: float | None = None,
    size: tuple[int, int] | None = None,
    latents: Float[Array, "b h w c"] | None = None,
) -> UInt8[np.ndarray, "b H W 3"]:
    """Plain Stable Diffusion sampling: DDIM with classifier-free guidance.

    Args:
        prompts: one a picture.
        negative_prompt: what guidance leads away from.
        seed: of the starting noise.
        steps: DDIM steps.
        guidance: guidance weight, 1 is none; the model's own by default.
        size: height and width in pixels; the model's own by default.
        latents: starting noise, instead of `seed` and `size`.

    Raises:
        RequestError: the size is not one that the model can make.
    """
    config = model.config
    if latents is None:
        height, width = size or (config.sample_size, config.sample_size)
        check_size(config, (height, width))
        down = config.vae.downscale
        latents = jax.random.normal(jax.random.key(seed), (len(prompts), height // down, width // down, config.unet.in_channels))
    context = jnp.concatenate([encode_prompt(model, [negative_prompt] * len(prompts)), encode_prompt(model, prompts)])
    weight = jnp.float32(config.guidance if guidance is None else guidance)
    run = jax.tree.map(jnp.asarray, ddim_steps(config, steps))
    return decode_latent(model, _sample(config, model.params["unet"], latents, context, run, weight))


@partial(jax.jit, static_argnames=("config",))
def _encode_ids(config: DreamLayerConfig, params: Params, ids: Array) -> Array:
    return CLIPTextModel(config.text).apply({"params": params}, ids)


@partial(jax.jit, static_argnames=("config",))
def _predict(config: DreamLayerConfig, params: Params, z: Array, t: Array, context: Array) -> Array:
    return UNet2DCondition(config.unet).apply({"params": params}, z, t, context).sample


@partial(jax.jit, static_argnames=("config",))
def _sample(config: DreamLayerConfig, params: Params, z: Array, context: Array, run: Steps, guidance: Array) -> Array:
    def step(z: Array, at: Steps) -> tuple[Array, None]:
        t = jnp.broadcast_to(at.t, (2 * len(z),))
        prediction = guided(_predict(config, params, jnp.concatenate([z, z]), t, context), guidance)
        return ddim_step(config.schedule.prediction_type, z, prediction, at.alpha_t, at.alpha_next), None

    return jax.lax.scan(step, z, run)[0]
