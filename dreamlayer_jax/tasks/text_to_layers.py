"""Text to layers (paper §3, §9), some layers given or none, ending with harmonisation (§3.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np

from dreamlayer_jax.compositing import from_uint8, to_uint8
from dreamlayer_jax.diffusion.decode import decode_layers
from dreamlayer_jax.diffusion.noise import scene_keys
from dreamlayer_jax.layered_image import LayeredImage
from dreamlayer_jax.model import Model
from dreamlayer_jax.request import Sampling, check_size
from dreamlayer_jax.tasks.arrange import arranged
from dreamlayer_jax.tasks.assemble import as_layers, foreground_maps, keep
from dreamlayer_jax.tasks.compose import compose_of, make_layers
from dreamlayer_jax.tasks.finite import DECODERS, UNET, UNET_HARMONIZING, is_finite, require_finite
from dreamlayer_jax.tasks.given import Given, known_latents
from dreamlayer_jax.tasks.harmonize import Window, changed_blend, check_window, harmonized, window_steps
from dreamlayer_jax.tasks.progress import DECODING, PIECES, Progress


def text_to_layers(
    model: Model,
    scenes: Sequence[Sequence[str]],
    *,
    seeds: Sequence[int],
    sampling: Sampling,
    size: tuple[int, int] | None,
    given: Given,
    window: Window,
    on_progress: Callable[[float], None] | None,
) -> list[LayeredImage]:
    """See `DreamLayer.generate`: that, for scenes of one layer count at a time. `given` is in every one of them.

    Args:
        scenes: each scene's prompts, background first.
        seeds: one a scene.
    """
    check_window(window, model.config.schedule.num_train_timesteps)
    sampling = sampling.of(model.config)
    decoders, steps = model.decoders(), model.steps(sampling)
    model.tokens(*scenes)  # too many or too long prompts are refused before anything is made
    size = size or (model.config.sample_size, model.config.sample_size)
    check_size(model.config, size)
    kept_steps = window_steps(steps, window) if window[0] else steps.below(model.config.harmonize.t_h)
    sampled, composed = len(steps) + DECODING, len(kept_steps) + DECODING if window[0] else 0
    progress = Progress(on_progress, sampled + composed) if on_progress is not None else None
    keys = scene_keys(seeds)
    made = make_layers(
        model,
        scenes,
        keys,
        steps,
        sampling,
        size=size,
        known=known_latents(model, given, len(scenes[0]), size) if given else None,
        pixels={number: jnp.repeat(from_uint8(jnp.asarray(pixels))[None], len(scenes), axis=0) for number, pixels in given.items()},
        keep=len(kept_steps),
        piece=None if progress is None else max(1, len(steps) // PIECES),
        on_piece=None if progress is None else progress.begun,
    )
    decoded = decode_layers(model.config, decoders, made.latents, place=model.place)
    finite = {UNET: is_finite(made.latents), DECODERS: is_finite(decoded.rgba_straight_01, decoded.global_rgb_01)}
    layers, whole, change = to_uint8(decoded.rgba_straight_01), to_uint8(decoded.global_rgb_01), None
    for number, pixels in given.items():
        layers = layers.at[number].set(pixels)
    if progress is not None:
        progress.begun(sampled, layers)
    trajectory, compose = made.trajectory, compose_of(model.config)
    how = {} if compose == "together" else {"compose": compose}
    if compose == "independent":
        layers, trajectory = arranged(model, np.array(layers), made, kept_steps, set(range(1, len(layers))) - set(given))
    if window[0]:
        change, fused = harmonized(model, scenes, trajectory, layers, kept_steps, sampling=sampling, window=window, keys=keys)
        finite |= {UNET_HARMONIZING: is_finite(fused.clean), DECODERS: is_finite(decoded.rgba_straight_01, decoded.global_rgb_01, change)}
    if progress is not None:
        if change is not None:
            progress.begun(sampled + composed, change)
        progress.finish()
    require_finite(finite)
    rgba, whole = np.asarray(layers), np.asarray(whole)
    composites = None if change is None else changed_blend(rgba, np.asarray(change))
    return [
        LayeredImage(
            layers=as_layers(scenes[n], rgba[:, n]),
            global_rgb=whole[n],
            context_maps=foreground_maps(made.context_maps, n),
            seed=seeds[n],
            settings={**sampling.settings(), "harmonize": list(window), "given": sorted(given), **how},
            model=model.config.name,
            composite_rgb=None if composites is None else composites[n],
            kept=keep(trajectory, kept_steps, n),
        )
        for n in range(len(scenes))
    ]
