"""Image to layers (paper Appendix E), for a picture of any size.

The layers' pixels get back the detail that the autoencoder loses, for it is there in the picture: see `seen_in_picture.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from dreamlayer_jax.canvas import Canvas
from dreamlayer_jax.compositing import from_uint8, to_uint8
from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.diffusion.decode import decode_latents, decode_layers
from dreamlayer_jax.diffusion.decompose import Method, decompose_layers
from dreamlayer_jax.diffusion.encode import encode_pictures
from dreamlayer_jax.diffusion.noise import scene_keys
from dreamlayer_jax.layered_image import LayeredImage
from dreamlayer_jax.model import Model
from dreamlayer_jax.request import RequestError, Sampling
from dreamlayer_jax.scene import Layer
from dreamlayer_jax.tasks.assemble import as_layers, foreground_maps, keep
from dreamlayer_jax.tasks.finite import DECODERS, UNET, is_finite, require_finite
from dreamlayer_jax.tasks.progress import DECODING, Progress
from dreamlayer_jax.tasks.seen_in_picture import REACH, support, with_detail

METHODS: tuple[str, ...] = get_args(Method)


def default_method(config: DreamLayerConfig) -> Method:
    """ "given" for a model that was trained with given layers, else "replay"."""
    return "given" if config.layered.given_clean else "replay"


def image_to_layers(
    model: Model,
    picture: UInt8[np.ndarray, "h w 3"],
    prompts: list[str],
    *,
    seed: int,
    sampling: Sampling,
    method: Method | None,
    on_progress: Callable[[float], None] | None = None,
) -> LayeredImage:
    """See `DreamLayer.decompose`."""
    if model.config.layered.layer_attention is not None:
        raise RequestError(
            f"the model {model.config.name!r} has LayerDiffusion's attention, which makes layers from words or around given ones; "
            "to take a picture apart, give its cut-outs to generate, or load the model without it"
        )
    method = method or default_method(model.config)
    if method not in METHODS:
        raise RequestError(f"method is {method!r}; known are {', '.join(METHODS)}")
    if picture.ndim != 3 or picture.shape[-1] != 3 or picture.dtype != np.uint8:
        raise RequestError(f"the picture is {picture.dtype} {picture.shape}; give uint8 of shape (h, w, 3), or a file to `read_picture`")
    if method != "given" and sampling.sampler is None:
        sampling = dataclasses.replace(sampling, sampler="ddim")
    sampling = sampling.of(model.config)
    if method != "given" and sampling.sampler != "ddim":
        raise RequestError(
            f"the sampler is {sampling.sampler!r}, but method {method!r} inverts the picture by DDIM: give the sampler 'ddim'"
        )
    decoders, tokens, steps = model.decoders(), model.tokens(prompts), model.steps(sampling)
    size = picture.shape[:2]
    canvas = Canvas(size, (model.config.sample_size,) * 2)
    placed = jnp.asarray(from_uint8(canvas.place(picture)))[None]
    latent = encode_pictures(model.config, model.params["vae"], placed, model.place)
    kept_steps = steps.below(model.config.harmonize.t_h)
    made = decompose_layers(
        model.config,
        model.params,
        latent,
        tokens,
        model.empty_ids,
        scene_keys([seed]),
        steps,
        model.guidance(sampling),
        method,
        negative_ids=model.negative_ids(sampling),
        place=model.place,
        keep=len(kept_steps),
    )
    progress = None if on_progress is None else Progress(on_progress, len(steps) + DECODING)
    if progress is not None:
        progress.begun(len(steps), made.latents)
    decoded = decode_layers(model.config, decoders, made.latents, place=model.place)
    if progress is not None:
        progress.begun(len(steps) + DECODING, decoded.rgba_straight_01)
        progress.finish()
    require_finite({UNET: is_finite(made.latents), DECODERS: is_finite(decoded.rgba_straight_01, decoded.global_rgb_01)})
    through = canvas.take(np.asarray(decode_latents(model.config, model.params["vae"], latent, model.place))[0])
    taken = np.stack([canvas.take(pixels) for pixels in np.asarray(decoded.rgba_straight_01)[:, 0]])
    reach = max(1, round(REACH * max(size) / max(canvas.inner[2:])))
    rgba = to_uint8(with_detail(taken, through, from_uint8(picture), reach))
    maps = foreground_maps(made.context_maps)
    if canvas.size != canvas.onto:  # maps of the canvas, cut to the picture
        on_canvas = np.asarray(jax.image.resize(maps, (len(maps), *canvas.onto), "linear"))
        maps = np.stack([canvas.take(m[..., None])[..., 0] for m in on_canvas])
    return LayeredImage(
        layers=_with_support(as_layers(prompts, rgba), support(taken, through)),
        global_rgb=picture if method != "inversion" else to_uint8(canvas.take(np.asarray(decoded.global_rgb_01)[0])),
        context_maps=maps,
        seed=seed,
        settings={**sampling.settings(), "method": method},
        model=model.config.name,
        kept=keep(made.trajectory, kept_steps),
    )


def _with_support(layers: tuple[Layer, ...], found: np.ndarray) -> tuple[Layer, ...]:
    foregrounds = (dataclasses.replace(layer, support=float(value)) for layer, value in zip(layers[1:], found, strict=True))
    return (layers[0], *foregrounds)
