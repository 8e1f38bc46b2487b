"""Editing (paper §4.4, Eq. 13): layers are moved in the kept latents, then harmonised again, so that their shadows follow.

    z^i_t ← √ᾱ_t E(op(I^i)) + √(1 − ᾱ_t) op(ε^i),   I_α^i ← op(I_α^i)        in Eq. 12

op acts on the layer's pixels, where a move by a fraction of a latent is exact to the pixel, and rolls its noise by whole latents, where it
stays white; interpolating noisy latents themselves would blur both. Layers that no edit touches keep the very latents they had. What a
border had cut off and a move brings inside is made anew (amodal completion), as are replaced and added layers: all else is given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Key, UInt8

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.canvas import Canvas
from dreamlayer_jax.compositing import from_uint8, to_uint8
from dreamlayer_jax.diffusion.decode import decode_layers
from dreamlayer_jax.diffusion.denoise import OnPiece, Trajectory, noised
from dreamlayer_jax.diffusion.generate import KnownLatents
from dreamlayer_jax.diffusion.noise import scene_keys
from dreamlayer_jax.diffusion.schedule import noise_of
from dreamlayer_jax.diffusion.steps import Steps
from dreamlayer_jax.editing.edits import Edit, PlannedLayer, plan
from dreamlayer_jax.editing.placement import cut_then_shown
from dreamlayer_jax.layered_image import LayeredImage
from dreamlayer_jax.model import Model
from dreamlayer_jax.request import RequestError, Sampling
from dreamlayer_jax.tasks.assemble import as_layers, keep
from dreamlayer_jax.tasks.compose import make_layers
from dreamlayer_jax.tasks.finite import DECODERS, UNET, UNET_HARMONIZING, is_finite, require_finite
from dreamlayer_jax.tasks.given import encode_layers_on_grey
from dreamlayer_jax.tasks.harmonize import Window, changed_blend, check_window, harmonized, window_steps
from dreamlayer_jax.tasks.progress import DECODING, PIECES, Progress

ENCODING = 1
"""About as many steps' work: the encoder on all layers."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Part:
    """A planned layer as far as it is known, where it is to be: all of it in the picture's own pixels, the map on the maps' grid."""

    prompt: str
    rgba: UInt8[np.ndarray, "h w 4"]
    missing: Bool[np.ndarray, "h w"]
    """Where it must be made."""
    context_map: Float[np.ndarray, "mh mw"]

    def latents_to_make(self, canvas: Canvas, grid: tuple[int, int]) -> Bool[np.ndarray, "gh gw"]:
        """Latents of the canvas, any of whose pixels is missing."""
        if self.missing.all():
            return np.ones(grid, bool)
        if not self.missing.any():
            return np.zeros(grid, bool)
        on_canvas = canvas.place(np.where(self.missing[..., None], np.full(3, 255, np.uint8), np.uint8(0)))[..., 0] > 0
        return on_canvas.reshape(grid[0], -1, grid[1], on_canvas.shape[1] // grid[1]).any(axis=(1, 3))

    def filled(self, made: UInt8[np.ndarray, "h w 4"], made_map: Float[Array, "gh gw"], *, opaque: bool) -> _Part:
        """The same, whole: what was missing is as `made`."""
        rgba = np.where(self.missing[..., None], made, self.rgba)
        if opaque:
            rgba[..., 3] = 255
        new = np.asarray(jax.image.resize(made_map, self.context_map.shape, "linear"))
        context_map = new if self.missing.all() else np.maximum(self.context_map, new)
        return dataclasses.replace(self, rgba=rgba, missing=np.zeros_like(self.missing), context_map=context_map)


def edit_layers(
    model: Model,
    image: LayeredImage,
    edits: Sequence[Edit],
    *,
    seed: int,
    sampling: Sampling,
    window: Window,
    on_progress: Callable[[float], None] | None = None,
) -> LayeredImage:
    """See `DreamLayer.edit`."""
    check_window(window, model.config.schedule.num_train_timesteps)
    model.decoders()
    sampling, planned = sampling.of(model.config), plan(image, edits)
    model.tokens([layer.prompt for layer in planned])  # too many or too long ones are refused before anything is made
    steps, keys = model.steps(sampling), scene_keys([seed])
    below = window_steps(steps, window)
    canvas = Canvas(image.size, _canvas_size(model, image))

    parts = [_part(image, layer) for layer in planned]
    known = _known_latents(model, image, planned, [canvas.place(part.rgba) for part in parts], below, jax.random.key(seed))
    to_make = np.stack([part.latents_to_make(canvas, known.clean.shape[2:4]) for part in parts])
    completing, harmonizing = (len(steps) + DECODING) * bool(to_make.any()), len(below) + DECODING
    progress = None if on_progress is None else Progress(on_progress, ENCODING + completing + harmonizing)
    if progress is not None:
        progress.begun(ENCODING, known.clean)
    if to_make.any():
        on_piece = None if progress is None else lambda done, latents: progress.begun(ENCODING + done, latents)
        parts, known = _completed(model, parts, known, to_make, canvas, below, sampling, keys, on_piece)

    prompts, rgba = [part.prompt for part in parts], np.stack([part.rgba for part in parts])
    on_canvas = np.stack([canvas.place(pixels) for pixels in rgba])[:, None]
    change, fused = harmonized(model, [prompts], known, on_canvas, below, sampling=sampling, window=window, keys=keys)
    if progress is not None:
        progress.begun(ENCODING + completing + harmonizing, change)
        progress.finish()
    require_finite({UNET: is_finite(known.clean), UNET_HARMONIZING: is_finite(fused.clean), DECODERS: is_finite(change)})
    whole = changed_blend(rgba, canvas.take(np.asarray(change)[0]))
    kept = Trajectory(states=known.states.at[:, -1].set(fused.states), clean=known.clean.at[-1].set(fused.clean))
    return LayeredImage(
        layers=as_layers(prompts, rgba),
        global_rgb=whole,
        context_maps=np.stack([part.context_map for part in parts[1:]]),
        seed=seed,
        settings={**image.settings, **sampling.settings(), "harmonize": list(window), "edits": _described(image, edits)},
        model=model.config.name,
        composite_rgb=whole,
        kept=keep(kept, below),
    )


def _canvas_size(model: Model, image: LayeredImage) -> tuple[int, int]:
    """Of the kept latents, in pixels; the model's own where none are kept. `RequestError` if they are not this model's of this scene."""
    if image.kept is None:
        return model.config.sample_size, model.config.sample_size
    config, kept = model.config, image.kept
    _, height, width, channels = kept.clean.shape
    size = (height * config.vae.downscale, width * config.vae.downscale)
    if channels != config.unet.in_channels:
        own = config.unet.in_channels
        raise RequestError(f"the scene's latents have {channels} channels; those of the model {config.name!r} have {own}")
    if size not in (tuple(image.size), (config.sample_size,) * 2):
        scene = f"{image.size[1]}x{image.size[0]}"
        raise RequestError(f"the scene is {scene}, but its latents are of {size[1]}x{size[0]} pixels: they are not this scene's")
    if len(kept.t) and kept.t[0] >= config.schedule.num_train_timesteps:
        raise RequestError(f"the scene's latents are of timestep {kept.t[0]}; the model has {config.schedule.num_train_timesteps}")
    return size


def _part(image: LayeredImage, layer: PlannedLayer) -> _Part:
    """The layer where it is to be; all of it is missing where it has no source."""
    if layer.source is None:
        blank, nowhere = np.zeros((*image.size, 4), np.uint8), np.zeros(image.context_maps.shape[1:], np.float32)
        return _Part(prompt=layer.prompt, rgba=blank, missing=np.ones(image.size, bool), context_map=nowhere)
    rgba, placement = image.layers[layer.source].rgba_straight, layer.placement
    missing = None if placement.is_identity else cut_then_shown(rgba[..., 3], placement)
    return _Part(
        prompt=layer.prompt,
        rgba=rgba if placement.is_identity else placement.move(rgba),
        missing=np.zeros(image.size, bool) if missing is None else missing,
        context_map=_placed_map(image, layer),
    )


def _placed_map(image: LayeredImage, layer: PlannedLayer) -> Float[np.ndarray, "mh mw"]:
    """The layer's map, moved with it; the background's is zero."""
    if layer.source == 0:
        return np.zeros(image.context_maps.shape[1:], np.float32)
    own = jnp.asarray(image.context_maps[layer.source - 1])[..., None]
    return np.clip(np.asarray(layer.placement.apply(own, image.size))[..., 0], 0, 1)


def _known_latents(
    model: Model, image: LayeredImage, planned: Sequence[PlannedLayer], on_canvas: Sequence[np.ndarray], steps: Steps, rng: jax.Array
) -> Trajectory:
    """Latents (…, l, 1, h, w, c) of the planned layers over `steps`, whatever is missing of them; the global layer's are not used.

    Layers that no edit touches keep the very latents they had, if those are of the same timesteps; others keep their noise.
    """
    encoded = encode_layers_on_grey(model, np.stack(on_canvas))
    clean = np.concatenate([encoded, np.zeros_like(encoded[:1])])
    noise = np.array(jax.random.normal(rng, clean.shape))
    kept = image.kept if image.kept is not None and len(image.kept.t) else None
    own = None if kept is None else np.asarray(noise_of(kept.states[0], kept.clean, model.alphas_cumprod[int(kept.t[0])]))
    for i, layer in enumerate(planned):
        if layer.source is not None and own is not None:
            noise[i] = layer.placement.carry(own[layer.source], image.size)
        if layer.source is not None and layer.placement.is_identity and image.kept is not None:
            clean[i] = image.kept.clean[layer.source]
    states = np.array(noised(jnp.asarray(clean), jnp.asarray(noise), steps).states)
    if kept is not None and np.array_equal(kept.t[-len(steps) :], steps.t):
        for i, layer in enumerate(planned):
            if layer.source is not None and layer.placement.is_identity:
                states[:, i] = kept.states[-len(steps) :, layer.source]
    return Trajectory(states=jnp.asarray(states)[:, :, None], clean=jnp.asarray(clean)[:, None])


def _completed(
    model: Model,
    parts: Sequence[_Part],
    known: Trajectory,
    to_make: Bool[np.ndarray, "k h w"],
    canvas: Canvas,
    below: Steps,
    sampling: Sampling,
    keys: Key[Array, " b"],
    on_piece: OnPiece | None,
) -> tuple[list[_Part], Trajectory]:
    """The parts with what is missing made for the rest, and the latents of all, over `below`."""
    mask = jnp.concatenate([jnp.asarray(~to_make, jnp.float32), jnp.zeros((1, *to_make.shape[1:]))])
    whole_already = {i: jnp.asarray(from_uint8(canvas.place(part.rgba)))[None] for i, part in enumerate(parts) if not part.missing.any()}
    steps = model.steps(sampling)
    made = make_layers(
        model,
        [[part.prompt for part in parts]],
        keys,
        steps,
        sampling,
        size=canvas.onto,
        known=KnownLatents(latents=known.clean, mask=mask[:, None, ..., None]),
        pixels=whole_already,
        keep=len(below),
        piece=None if on_piece is None else max(1, len(steps) // PIECES),
        on_piece=on_piece,
    )
    decoded = np.asarray(to_uint8(decode_layers(model.config, model.decoders(), made.latents, place=model.place).rgba_straight_01))[:, 0]
    is_made = to_make.any(axis=(1, 2))
    whole = [
        part.filled(canvas.take(decoded[i]), made.context_maps[i, 0], opaque=i == 0) if is_made[i] else part for i, part in enumerate(parts)
    ]
    chosen = jnp.asarray([*is_made, False])[:, None, None, None, None]
    states = jnp.where(chosen[None], made.trajectory.states, known.states)
    return whole, Trajectory(states=states, clean=jnp.where(chosen, made.latents, known.clean))


def _described(image: LayeredImage, edits: Sequence[Edit]) -> list[dict[str, object]]:
    """The edits so far, as JSON holds them."""
    new = [{"edit": type(edit).__name__.lower(), **dataclasses.asdict(edit)} for edit in edits]
    return [*image.settings.get("edits", []), *new]
