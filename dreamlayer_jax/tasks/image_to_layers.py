"""Image to layers (paper Appendix E), for a picture of any size."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from dreamlayer_jax.canvas import Canvas
from dreamlayer_jax.compositing import from_uint8, to_uint8
from dreamlayer_jax.diffusion.decode import decode_latents, decode_layers
from dreamlayer_jax.diffusion.decompose import METHODS, Method, decompose_layers, default_method, with_detail
from dreamlayer_jax.diffusion.encode import encode_pictures
from dreamlayer_jax.layered_image import LayeredImage
from dreamlayer_jax.model import Model
from dreamlayer_jax.request import RequestError
from dreamlayer_jax.tasks.assemble import as_layers, keep, mean_maps


def image_to_layers(
    model: Model,
    picture: UInt8[np.ndarray, "h w 3"],
    prompts: list[str],
    *,
    seed: int,
    steps: int,
    guidance: float,
    method: Method | None,
) -> LayeredImage:
    """See `DreamLayer.decompose`."""
    method = method or default_method(model.config)
    if method not in METHODS:
        raise RequestError(f"method is {method!r}; known are {', '.join(METHODS)}")
    if picture.ndim != 3 or picture.shape[-1] != 3 or picture.dtype != np.uint8:
        raise RequestError(f"the picture is {picture.dtype} {picture.shape}; give uint8 of shape (h, w, 3), or a file to `read_picture`")
    decoders, tokens = model.decoders(), model.tokens(prompts, steps)
    size = picture.shape[:2]
    canvas = Canvas(size, (model.config.sample_size,) * 2)
    placed = jnp.asarray(from_uint8(canvas.place(picture)))[None]
    latent = encode_pictures(model.config, model.params["vae"], placed)
    made = decompose_layers(model.config, model.params, latent, tokens, model.empty_ids, jax.random.key(seed), steps, guidance, method)
    decoded = decode_layers(model.config, decoders, made.latents)
    through = canvas.take(np.asarray(decode_latents(model.config, model.params["vae"], latent))[0])
    taken = np.stack([canvas.take(pixels) for pixels in np.asarray(decoded.rgba_straight_01)[:, 0]])
    rgba = to_uint8(with_detail(taken, through, from_uint8(picture)))
    maps = mean_maps(made.context_maps)
    if canvas.size != canvas.onto:  # maps of the canvas, cut to the picture
        on_canvas = np.asarray(jax.image.resize(maps, (len(maps), *canvas.onto), "linear"))
        maps = np.stack([canvas.take(m[..., None])[..., 0] for m in on_canvas])
    return LayeredImage(
        layers=as_layers(prompts, rgba),
        global_rgb=picture if method != "inversion" else to_uint8(canvas.take(np.asarray(decoded.global_rgb_01)[0])),
        context_maps=maps,
        seed=seed,
        settings={"steps": steps, "guidance": guidance, "method": method},
        model=model.config.name,
        kept=keep(model, made.trajectory, steps, model.config.harmonize.start),
    )
