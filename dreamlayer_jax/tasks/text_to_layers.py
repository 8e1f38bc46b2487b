"""Text to layers (paper §3, §9), some layers given or none, ending with harmonisation (§3.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from dreamlayer_jax.compositing import from_uint8, over_grey, to_uint8
from dreamlayer_jax.diffusion.decode import decode_layers
from dreamlayer_jax.diffusion.encode import encode_pictures
from dreamlayer_jax.diffusion.generate import KnownLatents, generate_layers
from dreamlayer_jax.diffusion.progress import Progress
from dreamlayer_jax.layered_image import LayeredImage
from dreamlayer_jax.request import RequestError, check_size
from dreamlayer_jax.tasks.assemble import Window, as_layers, changed_blend, check_window, harmonized_batch, keep, mean_maps, window_steps

if TYPE_CHECKING:
    from dreamlayer_jax.pipeline import DreamLayer

Given = Mapping[int, UInt8[np.ndarray, "h w 4"]]


def text_to_layers(
    model: DreamLayer,
    prompts: list[str],
    *,
    seed: int,
    steps: int,
    guidance: float,
    size: tuple[int, int] | None,
    given: Given,
    window: Window,
    on_step: Callable[[int], None] | None,
) -> LayeredImage:
    """See `DreamLayer.generate`."""
    check_window(window, model.config.schedule.num_train_timesteps)
    decoders, tokens = model.decoders(), model.tokens(prompts, steps)
    size = size or (model.config.sample_size, model.config.sample_size)
    check_size(model.config, size)
    run = window_steps(model, steps, window) if window[0] else None
    progress = Progress(on_step) if on_step is not None else None
    made = generate_layers(
        model.config,
        model.params,
        tokens,
        model.empty_ids,
        jax.random.key(seed),
        steps=steps,
        guidance=guidance,
        size=size,
        known=known_latents(model, given, len(prompts), size) if given else None,
        progress=progress,
    )
    decoded = decode_layers(model.config, decoders, made.latents)
    layers, whole, change = to_uint8(decoded.rgba_straight_01), to_uint8(decoded.global_rgb_01), None
    for number, pixels in given.items():
        layers = layers.at[number].set(pixels)
    if run is not None:
        change, _ = harmonized_batch(model, tokens, made.trajectory.last(len(run.t)), layers, run, guidance=guidance, t_end=window[1])
    if progress is not None:
        progress.finish()
    rgba = np.asarray(layers)[:, 0]
    return LayeredImage(
        layers=as_layers(prompts, rgba),
        global_rgb=np.asarray(whole)[0],
        context_maps=mean_maps(made.context_maps),
        seed=seed,
        settings={"steps": steps, "guidance": guidance, "harmonize": list(window), "given": sorted(given)},
        model=model.config.name,
        composite_rgb=None if change is None else changed_blend(rgba, np.asarray(change)[0]),
        kept=keep(model, made.trajectory, steps, window[0] or model.config.harmonize.start),
    )


def encode_layers_on_grey(model: DreamLayer, rgba: UInt8[np.ndarray, "n H W 4"]) -> Float[np.ndarray, "n h w c"]:
    """`latent_scaled` of layers pasted on mid-grey, as training had them (paper §2)."""
    return np.asarray(encode_pictures(model.config, model.params["vae"], jnp.asarray(over_grey(from_uint8(rgba)))))


def known_latents(model: DreamLayer, given: Given, k: int, size: tuple[int, int]) -> KnownLatents:
    """Latents and mask of the given layers among k.

    Raises:
        RequestError: a number is no layer of the scene, or pixels are not of `size`, or a given background is not opaque.
    """
    for number, pixels in given.items():
        if not 0 <= number < k:
            raise RequestError(f"layer {number} is given; the scene has layers 0 to {k - 1}")
        if pixels.shape != (*size, 4) or pixels.dtype != np.uint8:
            raise RequestError(f"given layer {number} is {pixels.dtype} {pixels.shape}; expected is uint8 {(*size, 4)}")
        if number == 0 and not (pixels[..., 3] == 255).all():
            raise RequestError("the given background has transparent pixels; a background is opaque")
    numbers = sorted(given)
    latents = encode_layers_on_grey(model, np.stack([given[number] for number in numbers]))
    whole = np.zeros((k + 1, 1, *latents.shape[1:]), np.float32)
    mask = np.zeros((*whole.shape[:-1], 1), np.float32)
    whole[numbers, 0], mask[numbers] = latents, 1
    return KnownLatents(latents=jnp.asarray(whole), mask=jnp.asarray(mask))
