"""Text to layers (paper §3, §9), some layers given or none, ending with harmonisation (§3.3)."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np

from dreamlayer_jax.compositing import to_uint8
from dreamlayer_jax.diffusion.decode import decode_layers
from dreamlayer_jax.diffusion.generate import generate_layers
from dreamlayer_jax.layered_image import LayeredImage
from dreamlayer_jax.model import Model
from dreamlayer_jax.request import check_size
from dreamlayer_jax.tasks.assemble import as_layers, keep, mean_maps
from dreamlayer_jax.tasks.given import Given, known_latents
from dreamlayer_jax.tasks.harmonize import Window, changed_blend, check_window, harmonized_batch, window_steps
from dreamlayer_jax.tasks.progress import Progress


def text_to_layers(
    model: Model,
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
        on_piece=None if progress is None else progress.begun,
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
