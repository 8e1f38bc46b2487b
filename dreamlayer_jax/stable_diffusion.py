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
from dreamlayer_jax.config import DreamLayerConfig, Sampler
from dreamlayer_jax.diffusion.decode import decode_foregrounds, decode_latents
from dreamlayer_jax.diffusion.encode import encode_pictures
from dreamlayer_jax.diffusion.guidance import guided, pieces
from dreamlayer_jax.diffusion.loop import Run, advance, begin
from dreamlayer_jax.diffusion.loop import sampler as linear_sampler
from dreamlayer_jax.diffusion.steps import Steps
from dreamlayer_jax.model import Model
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.models.text_encoder import CLIPTextModel
from dreamlayer_jax.models.unet import UNet2DCondition
from dreamlayer_jax.prompts import token_ids
from dreamlayer_jax.request import Sampling, check_size


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
    sampler: Sampler | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    guidance_interval: tuple[int, int] | None = None,
    size: tuple[int, int] | None = None,
    latents: Float[Array, "b h w c"] | None = None,
) -> UInt8[np.ndarray, "b H W 3"]:
    """Plain Stable Diffusion sampling with classifier-free guidance.

    Args:
        prompts: one a picture.
        negative_prompt: what guidance leads away from.
        seed: of the noise.
        sampler: the model's own by default, as are `steps` and `guidance` (1 is none).
        steps: denoising steps.
        guidance: guidance weight.
        guidance_interval: timesteps (from, to), from >= to, outside which there is no guidance.
        size: height and width in pixels; the model's own by default.
        latents: starting noise, instead of `seed` and `size`.

    Raises:
        RequestError: the size is not one that the model can make.
    """
    config = model.config
    sampling = Sampling(sampler=sampler, steps=steps, guidance=guidance, guidance_interval=guidance_interval, negative=negative_prompt)
    schedule, weight = model.steps(sampling), model.guidance(sampling)
    if latents is None:
        height, width = size or (config.sample_size, config.sample_size)
        check_size(config, (height, width))
        down = config.vae.downscale
        latents = jax.random.normal(jax.random.key(seed), (len(prompts), height // down, width // down, config.unet.in_channels))
    context = encode_prompt(model, prompts)
    if weight.is_on:
        context = jnp.concatenate([encode_prompt(model, [negative_prompt] * len(prompts)), context])
    run, is_guided = begin(latents, schedule), weight.at(schedule)
    for start, stop in pieces(None, is_guided):
        now = np.float32(weight.weight) if is_guided[start] else None
        run = _advance(config, model.params["unet"], run, context, schedule, now, jax.random.key(seed), start, stop)
    return decode_latent(model, run.z)


@partial(jax.jit, static_argnames=("config",))
def _encode_ids(config: DreamLayerConfig, params: Params, ids: Array) -> Array:
    return CLIPTextModel(config.text).apply({"params": params}, ids)


@partial(jax.jit, static_argnames=("config",))
def _predict(config: DreamLayerConfig, params: Params, z: Array, t: Array, context: Array) -> Array:
    return UNet2DCondition(config.unet).apply({"params": params}, z, t, context).sample


@partial(jax.jit, static_argnames=("config",))
def _advance(
    config: DreamLayerConfig,
    params: Params,
    run: Run,
    context: Array,
    steps: Steps,
    weight: Array | None,
    key: Array,
    start: Int[Array, ""],
    stop: Int[Array, ""],
) -> Run:
    def network(z: Array, at: Steps, i: Array) -> tuple[Array, None]:
        if weight is None:
            return _predict(config, params, z, jnp.broadcast_to(at.t, len(z)), context[-len(z) :]), None
        both = _predict(config, params, jnp.concatenate([z, z]), jnp.broadcast_to(at.t, 2 * len(z)), context)
        return guided(both, weight), None

    def noise(at: Steps) -> Array:
        return jax.random.normal(jax.random.fold_in(key, at.t), run.z.shape)

    return advance(run, steps, linear_sampler(config.schedule.prediction_type, network, noise=noise), start, stop)
