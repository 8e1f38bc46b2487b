"""Editing (paper §4.4, Eq. 13): layers are moved in the kept latents, then harmonised again, so that their shadows follow.

    z^i_t ← √ᾱ_t E(op(I^i)) + √(1 − ᾱ_t) op(ε^i),   I_α^i ← op(I_α^i)        in Eq. 12

op acts on the layer's pixels, where a move by a fraction of a latent is exact to the pixel, and rolls its noise by whole latents, where it
stays white; interpolating noisy latents themselves would blur both. Layers that no edit touches keep the very latents they had. What a
border had cut off and a move brings inside is made anew (amodal completion), as are replaced and added layers: all else is given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, UInt8

from dreamlayer_jax.canvas import Canvas
from dreamlayer_jax.compositing import from_uint8, to_uint8
from dreamlayer_jax.diffusion.decode import decode_layers
from dreamlayer_jax.diffusion.denoise import Trajectory, noised
from dreamlayer_jax.diffusion.generate import KnownLatents
from dreamlayer_jax.diffusion.noise import scene_keys
from dreamlayer_jax.diffusion.schedule import noise_of
from dreamlayer_jax.editing.edits import Edit, PlannedLayer, plan
from dreamlayer_jax.editing.placement import cut_then_shown
from dreamlayer_jax.layered_image import LayeredImage
from dreamlayer_jax.model import Model
from dreamlayer_jax.request import Sampling
from dreamlayer_jax.scene import KeptLatents
from dreamlayer_jax.tasks.assemble import as_layers
from dreamlayer_jax.tasks.compose import make_layers
from dreamlayer_jax.tasks.given import encode_layers_on_grey
from dreamlayer_jax.tasks.harmonize import Window, changed_blend, check_window, harmonized, window_steps


def edit_layers(model: Model, image: LayeredImage, edits: Sequence[Edit], *, seed: int, sampling: Sampling, window: Window) -> LayeredImage:
    """See `DreamLayer.edit`."""
    check_window(window, model.config.schedule.num_train_timesteps)
    decoders, planned = model.decoders(), plan(image, edits)
    prompts = [layer.prompt for layer in planned]
    sampling = sampling.of(model.config)
    model.tokens(prompts)  # too many or too long ones are refused before anything is made
    steps, keys = model.steps(sampling), scene_keys([seed])
    below = window_steps(steps, window)
    down, side = model.config.vae.downscale, model.config.sample_size
    onto = tuple(down * n for n in image.kept.clean.shape[1:3]) if image.kept is not None else (side, side)
    canvas = Canvas(image.size, onto)

    rgba, missing = zip(*(_placed(image, layer) for layer in planned), strict=True)
    clean, noise = _latents(model, image, planned, [canvas.place(pixels) for pixels in rgba], jax.random.key(seed))
    states = np.array(noised(jnp.asarray(clean), jnp.asarray(noise), below).states)
    _put_back_untouched(states, clean, image.kept, planned, np.asarray(below.t))

    unknown = _unknown(planned, missing, canvas, clean.shape[1:3])
    maps = _placed_maps(image, planned)
    layers = list(rgba)
    if unknown[:-1].any():
        known = KnownLatents(latents=jnp.asarray(clean)[:, None], mask=jnp.asarray(~unknown, jnp.float32)[:, None, ..., None])
        there = {i: jnp.asarray(from_uint8(canvas.place(rgba[i])))[None] for i, where in enumerate(missing) if where is None}
        made = make_layers(model, [prompts], keys, steps, sampling, size=onto, known=known, pixels=there, keep=len(below))
        decoded = np.asarray(to_uint8(decode_layers(model.config, decoders, made.latents).rgba_straight_01))[:, 0]
        for i in np.flatnonzero(unknown[:-1].any(axis=(1, 2))):
            layers[i], maps[i] = _completed(canvas, decoded[i], made.context_maps[i, 0], i, rgba[i], missing[i], maps[i])
            clean[i] = np.asarray(made.latents[i, 0])
            states[:, i] = np.asarray(made.trajectory.states[:, i, 0])

    on_canvas = np.stack([canvas.place(pixels) for pixels in layers])[:, None]
    trajectory = Trajectory(states=jnp.asarray(states)[:, :, None], clean=jnp.asarray(clean)[:, None])
    change, fused = harmonized(model, [prompts], trajectory, on_canvas, below, sampling=sampling, window=window, keys=keys)
    states[:, -1], clean[-1] = np.asarray(fused.states[:, 0]), np.asarray(fused.clean[0])
    whole = changed_blend(np.stack(layers), canvas.take(np.asarray(change)[0]))
    return LayeredImage(
        layers=as_layers(prompts, np.stack(layers)),
        global_rgb=whole,
        context_maps=np.stack(maps[1:]),
        seed=seed,
        settings={**image.settings, **sampling.settings(), "harmonize": list(window), "edits": _described(image, edits)},
        model=model.config.name,
        composite_rgb=whole,
        kept=KeptLatents(t=np.asarray(below.t, np.int32), states=states, clean=clean),
    )


def _placed(image: LayeredImage, layer: PlannedLayer) -> tuple[UInt8[np.ndarray, "h w 4"], Bool[np.ndarray, "h w"] | None]:
    """The layer's pixels where they are to be, and where they are missing: None for nowhere, everywhere for a layer to be made."""
    if layer.source is None:
        blank = np.zeros((*image.size, 4), np.uint8)
        return blank, np.ones(image.size, bool)
    pixels = image.layers[layer.source].rgba_straight
    if layer.placement.is_identity:
        return pixels, None
    return layer.placement.move(pixels), cut_then_shown(pixels[..., 3], layer.placement)


def _latents(
    model: Model, image: LayeredImage, planned: Sequence[PlannedLayer], rgba: Sequence[np.ndarray], rng: jax.Array
) -> tuple[Float[np.ndarray, "l h w c"], Float[np.ndarray, "l h w c"]]:
    """Clean latents of the planned layers, and the noise that each carries; the global layer's are zero and not used."""
    clean = encode_layers_on_grey(model, np.stack(rgba))
    clean = np.concatenate([clean, np.zeros_like(clean[:1])])
    noise = np.array(jax.random.normal(rng, clean.shape))
    if image.kept is not None and len(image.kept.t):
        own = np.asarray(noise_of(image.kept.states[0], image.kept.clean, model.alphas_cumprod[int(image.kept.t[0])]))
        for i, layer in enumerate(planned):
            if layer.source is not None:
                noise[i] = layer.placement.carry(own[layer.source], image.size)
    return clean, noise


def _put_back_untouched(
    states: np.ndarray, clean: np.ndarray, kept: KeptLatents | None, planned: Sequence[PlannedLayer], t: np.ndarray
) -> None:
    """Layers that no edit touches keep the very latents they had, if those are of the same timesteps."""
    if kept is None:
        return
    same = len(t) <= len(kept.t) and np.array_equal(kept.t[-len(t) :], t)
    for i, layer in enumerate(planned):
        if layer.source is not None and layer.placement.is_identity:
            clean[i] = kept.clean[layer.source]
            if same:
                states[:, i] = kept.states[-len(t) :, layer.source]


def _unknown(
    planned: Sequence[PlannedLayer], missing: Sequence[np.ndarray | None], canvas: Canvas, grid: tuple[int, int]
) -> Bool[np.ndarray, "l h w"]:
    """Which latents are to be made: any of whose pixels is missing; the global layer's always."""
    unknown = np.ones((len(planned) + 1, *grid), bool)
    for i, where in enumerate(missing):
        if where is None:
            unknown[i] = False
        elif planned[i].source is not None:
            pixels = canvas.place(np.repeat(where[..., None], 3, axis=-1).astype(np.uint8) * 255)[..., 0] > 0
            unknown[i] = pixels.reshape(grid[0], -1, grid[1], pixels.shape[1] // grid[1]).any(axis=(1, 3))
    return unknown


def _placed_maps(image: LayeredImage, planned: Sequence[PlannedLayer]) -> list[Float[np.ndarray, "h w"]]:
    """A map a layer, the background's zero; they move with their layers."""
    nothing = np.zeros(image.context_maps.shape[1:], np.float32)
    maps = [nothing]
    for layer in planned[1:]:
        if layer.source is None:
            maps.append(nothing)
        else:
            own = jnp.asarray(image.context_maps[layer.source - 1])[..., None]
            maps.append(np.clip(np.asarray(layer.placement.apply(own, image.size))[..., 0], 0, 1))
    return maps


def _completed(
    canvas: Canvas, decoded: np.ndarray, made_map: np.ndarray, i: int, rgba: np.ndarray, missing: np.ndarray, context_map: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Layer i with what was missing filled in, and its context map."""
    filled = np.where(missing[..., None], canvas.take(decoded), rgba)
    if i == 0:
        filled[..., 3] = 255
    new = np.asarray(jax.image.resize(made_map, context_map.shape, "linear"))
    return filled, new if missing.all() else np.maximum(context_map, new)


def _described(image: LayeredImage, edits: Sequence[Edit]) -> list[dict[str, object]]:
    """The edits so far, as JSON holds them."""
    new = [{"edit": type(edit).__name__.lower(), **dataclasses.asdict(edit)} for edit in edits]
    return [*image.settings.get("edits", []), *new]
