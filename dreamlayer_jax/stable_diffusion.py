"""The base model by itself, for notebooks: Stable Diffusion's pieces and its plain text-to-image, one picture a prompt.

Every function takes the loaded model first. Layer-free: foreground keys and values, context maps and shared attention are not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from einops import reduce
from jaxtyping import Bool, Float, Int, UInt8

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.compositing import from_uint8, to_uint8
from dreamlayer_jax.config import DreamLayerConfig, PredictionType, Sampler
from dreamlayer_jax.diffusion.decode import decode_foregrounds, decode_latents
from dreamlayer_jax.diffusion.denoise import lay
from dreamlayer_jax.diffusion.encode import encode_pictures
from dreamlayer_jax.diffusion.guidance import guided, pieces
from dreamlayer_jax.diffusion.loop import Run, advance, begin
from dreamlayer_jax.diffusion.loop import sampler as linear_sampler
from dreamlayer_jax.diffusion.schedule import add_noise
from dreamlayer_jax.diffusion.steps import Steps
from dreamlayer_jax.model import Model
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.models.text_encoder import CLIPTextModel
from dreamlayer_jax.models.unet import UNet2DCondition
from dreamlayer_jax.place import make_place
from dreamlayer_jax.prompts import token_ids
from dreamlayer_jax.request import RequestError, Sampling, check_size
from dreamlayer_jax.weights.load import load_model
from dreamlayer_jax.weights.where import find_model

NOTHING_TO_FILL = (
    "the model {name!r} is an inpainting model, which fills holes (`inpaint`); for pictures from text alone take the plain model"
)


def load_plain(
    source: str | Path,
    *,
    tokenizer: str | Path | None = None,
    vae: str | Path | None = None,
    prediction: PredictionType | None = None,
    config: DreamLayerConfig | None = None,
    dtype: Any = None,
) -> Model:
    """A model for the functions here, on one device: what `DreamLayer.from_pretrained` loads, and inpainting models, which `inpaint` takes.

    Arguments as there. Raises `WeightsError` for what is missing, damaged or another kind of model.
    """
    config, params, text = load_model(
        find_model(source),
        tokenizer=tokenizer,
        vae=None if vae is None else Path(vae),
        prediction=prediction,
        config=config,
        inpainting=True,
    )
    return Model(config=config, params=params, tokenizer=text, place=make_place(dtype=dtype))


def encode_prompt(model: Model, prompts: Sequence[str]) -> Float[Array, "b t d"]:
    """The text tower's output for each prompt, cut or padded to the tower's length; what `predict_noise` takes as context."""
    length = model.config.text.max_position_embeddings
    ids = np.full((len(prompts), length), model.tokenizer.pad_token_id, np.int32)
    for row, prompt in zip(ids, prompts, strict=True):
        *words, end = token_ids(model.tokenizer, prompt)
        cut = [*words[: length - 1], end]
        row[: len(cut)] = cut
    return _encode_ids(model.config, model.place.dtype, model.params["text_encoder"], ids)


def encode_image(model: Model, rgb: UInt8[np.ndarray, "b H W 3"]) -> Float[Array, "b h w c"]:
    """The mean `latent_scaled` of pictures."""
    return encode_pictures(model.config, model.params["vae"], jnp.asarray(from_uint8(np.asarray(rgb))), model.place)


def decode_latent(model: Model, latent_scaled: Float[Array, "b h w c"]) -> UInt8[np.ndarray, "b H W 3"]:
    """The pictures of latents."""
    return np.asarray(to_uint8(decode_latents(model.config, model.params["vae"], latent_scaled, model.place)))


def decode_layer(model: Model, latent_scaled: Float[Array, "b h w c"], ensembled: bool = False) -> UInt8[np.ndarray, "b H W 4"]:
    """Foregrounds as straight RGBA, by the layer decoder; `ensembled`: the lower median over its eight symmetries, eight times the cost."""
    return np.asarray(to_uint8(decode_foregrounds(model.config, model.decoders(), latent_scaled, ensembled, model.place)))


def predict_noise(model: Model, z: Float[Array, "b h w c"], t: Int[Array, " b"], context: Float[Array, "b t d"]) -> Float[Array, "b h w c"]:
    """The UNet's prediction (ε, or what `config.schedule.prediction_type` says) for plain pictures at timesteps `t`.

    For an inpainting model z has 9 channels: the latent, 1 where a hole is, and the latent of the picture with the hole in middle grey.
    """
    return _predict(model.config, model.place.dtype, model.params["unet"], z, t, context)


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
        RequestError: the size is not one that the model can make, or it is an inpainting model.
    """
    config = model.config
    if config.unet.is_inpainting:
        raise RequestError(NOTHING_TO_FILL.format(name=config.name))
    sampling = Sampling(sampler=sampler, steps=steps, guidance=guidance, guidance_interval=guidance_interval, negative=negative_prompt)
    if latents is None:
        height, width = size or (config.sample_size, config.sample_size)
        check_size(config, (height, width))
        latents = _starting_noise(config, seed, (len(prompts), height, width))
    return decode_latent(model, _sampled(model, prompts, sampling, seed, latents))


def inpaint(
    model: Model,
    rgb: UInt8[np.ndarray, "b H W 3"],
    hole: Bool[np.ndarray, "b H W"],
    prompts: Sequence[str],
    *,
    negative_prompt: str = "",
    seed: int = 0,
    sampler: Sampler | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    latents: Float[Array, "b h w c"] | None = None,
) -> UInt8[np.ndarray, "b H W 3"]:
    """Pictures with something else in their holes.

    An inpainting model sees the hole and the picture around it as inputs (Rombach et al. 2022). A plain one is led by blended latents
    (Avrahami, Fried, Lischinski 2023): outside, every step's latent is the picture's own, noised as far as that step.

    The autoencoder changes every pixel, so lay the picture's own over the result outside the hole. Arguments as of `text_to_image`;
    `latents` (b, h, w, c) is the starting noise, instead of `seed`'s.

    Raises:
        RequestError: the size is not one that the model can make.
    """
    config = model.config
    check_size(config, rgb.shape[1:3])
    sampling = Sampling(sampler=sampler, steps=steps, guidance=guidance, negative=negative_prompt)
    latents = _starting_noise(config, seed, rgb.shape[:3]) if latents is None else latents
    if config.unet.is_inpainting:
        return decode_latent(model, _sampled(model, prompts, sampling, seed, latents, beside=_around(model, rgb, hole)))
    down = config.vae.downscale
    cells = reduce(jnp.asarray(hole, jnp.float32), "b (h r) (w c) -> b h w 1", "max", r=down, c=down)
    cells = jax.lax.reduce_window(cells, 0.0, jax.lax.max, (1, 3, 3, 1), (1, 1, 1, 1), "SAME")
    known = Known(clean=encode_image(model, rgb), mask=1 - cells, noise=latents)
    made = _sampled(model, prompts, sampling, seed, latents, known)
    return decode_latent(model, lay(known.clean, made, known.mask))


def _around(model: Model, rgb: np.ndarray, hole: np.ndarray) -> Float[Array, "b h w c"]:
    """What an inpainting model takes beside the latent, as diffusers' pipeline makes it: the hole at every cell's first pixel, and the
    latent of the picture with the hole in middle grey, which is 0 to the encoder."""
    down = model.config.vae.downscale
    masked = jnp.where(jnp.asarray(hole)[..., None], 0.5, from_uint8(np.asarray(rgb)))
    cells = jnp.asarray(hole, jnp.float32)[:, ::down, ::down, None]
    return jnp.concatenate([cells, encode_pictures(model.config, model.params["vae"], masked, model.place)], axis=-1)


@flax.struct.dataclass
class Known:
    """Latents that stay what they are where `mask` is 1, and the noise that they carry on the way."""

    clean: Float[Array, "b h w c"]
    mask: Float[Array, "b h w 1"]
    noise: Float[Array, "b h w c"]


def _starting_noise(config: DreamLayerConfig, seed: int, shape: tuple[int, int, int]) -> Float[Array, "b h w c"]:
    """z_T of pictures of `shape` (b, height, width) in pixels."""
    batch, height, width = shape
    down = config.vae.downscale
    return jax.random.normal(jax.random.key(seed), (batch, height // down, width // down, config.vae.latent_channels))


def _sampled(
    model: Model,
    prompts: Sequence[str],
    sampling: Sampling,
    seed: int,
    latents: Float[Array, "b h w c"],
    known: Known | None = None,
    beside: Float[Array, "b h w d"] | None = None,
) -> Float[Array, "b h w c"]:
    """The clean latents. `beside` is what the network takes beside them at every step."""
    schedule, weight = model.steps(sampling), model.guidance(sampling)
    context = encode_prompt(model, prompts)
    if weight.is_on:
        context = jnp.concatenate([encode_prompt(model, [sampling.negative] * len(prompts)), context])
    run, is_guided = begin(latents, schedule), weight.at(schedule)
    for start, stop in pieces(None, is_guided):
        now = np.float32(weight.weight) if is_guided[start] else None
        options = {"start": start, "stop": stop, "known": known, "beside": beside}
        run = _advance(model.config, model.place.dtype, model.params["unet"], run, context, schedule, now, jax.random.key(seed), **options)
    return run.z


@partial(jax.jit, static_argnames=("config", "dtype"))
def _encode_ids(config: DreamLayerConfig, dtype: Any, params: Params, ids: Array) -> Array:
    return CLIPTextModel(config.text, dtype).apply({"params": params}, ids)


@partial(jax.jit, static_argnames=("config", "dtype"))
def _predict(config: DreamLayerConfig, dtype: Any, params: Params, z: Array, t: Array, context: Array) -> Array:
    return UNet2DCondition(config.unet, dtype=dtype).apply({"params": params}, z, t, context).sample.astype(jnp.float32)


@partial(jax.jit, static_argnames=("config", "dtype"))
def _advance(
    config: DreamLayerConfig,
    dtype: Any,
    params: Params,
    run: Run,
    context: Array,
    steps: Steps,
    weight: Array | None,
    key: Array,
    start: Int[Array, ""],
    stop: Int[Array, ""],
    known: Known | None,
    beside: Array | None,
) -> Run:
    def put(z: Array, at: Steps, i: Array) -> Array:
        return z if known is None else lay(add_noise(at.alpha_t, known.clean, known.noise), z, known.mask)

    def network(z: Array, at: Steps, i: Array) -> tuple[Array, None]:
        z = z if beside is None else jnp.concatenate([z, beside], axis=-1)
        if weight is None:
            return _predict(config, dtype, params, z, jnp.broadcast_to(at.t, len(z)), context[-len(z) :]), None
        both = _predict(config, dtype, params, jnp.concatenate([z, z]), jnp.broadcast_to(at.t, 2 * len(z)), context)
        return guided(both, weight), None

    def noise(at: Steps) -> Array:
        return jax.random.normal(jax.random.fold_in(key, at.t), run.z.shape)

    return advance(run, steps, linear_sampler(config.schedule.prediction_type, network, put, noise), start, stop)
