"""How a model makes the layers of a scene: in one layer batch, or, with some of LayerDiffusion's files, one after the other.

together      the model's own way: all layers of the scene and the whole picture in one layer batch
joint         the same, of a background, one foreground and the whole picture, which LayerDiffusion's joint was trained for
independent   the same, but no layer knows of another (transparent_attn): foregrounds then go to where the whole picture has them
              (tasks/arrange.py)
chain         the background as plain Stable Diffusion; then, far to near, each foreground for what is there already (bg2fg): the layers so
              far, stacked by Eq. 1, steer it as a picture. Or the background for given foregrounds (fg2bg)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Key

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.compositing import MID_GREY, composite, mean_over_cells
from dreamlayer_jax.config import DreamLayerConfig, LayerAttentionKind
from dreamlayer_jax.diffusion.control import steered
from dreamlayer_jax.diffusion.decode import decode_foregrounds, decode_latents
from dreamlayer_jax.diffusion.denoise import OnPiece, Trajectory, guidance_contexts, noised
from dreamlayer_jax.diffusion.encode import encode_pictures
from dreamlayer_jax.diffusion.generate import GeneratedLatents, KnownLatents, generate_from, generate_layers
from dreamlayer_jax.diffusion.noise import layer_noise
from dreamlayer_jax.diffusion.steps import Steps
from dreamlayer_jax.layer_axis import Role
from dreamlayer_jax.model import Model
from dreamlayer_jax.place import Place
from dreamlayer_jax.request import RequestError, Sampling

Compose = Literal["together", "joint", "independent", "chain"]
BY_KIND: dict[LayerAttentionKind, Compose] = {"transparent_attn": "independent", "joint": "joint", "bg2fg": "chain", "fg2bg": "chain"}
Pixels = Mapping[int, Float[Array, "b H W 4"]]
"""Straight RGBA in [0, 1] of some layers, by number."""


def compose_of(config: DreamLayerConfig) -> Compose:
    """The one way in which a model makes layers."""
    added = config.layered.layer_attention
    return "together" if added is None else BY_KIND[added.kind]


def make_layers(
    model: Model,
    scenes: Sequence[Sequence[str]],
    keys: Key[Array, " b"],
    steps: Steps,
    sampling: Sampling,
    *,
    size: tuple[int, int],
    known: KnownLatents | None = None,
    pixels: Pixels | None = None,
    keep: int,
    piece: int | None = None,
    on_piece: OnPiece | None = None,
) -> GeneratedLatents:
    """The layers of scenes of one layer count, and their whole pictures, in the model's way.

    Args:
        model: the model.
        scenes: each scene's prompts, background first.
        keys: the scenes'.
        steps: of a run.
        sampling: of a run.
        size: height and width in pixels.
        known: layers, or parts of them, that stay as they are.
        pixels: straight RGBA in [0, 1] of the layers that are known whole.
        keep: the trajectory is kept over so many last steps.
        piece: the most steps that are handed to the device at a time.
        on_piece: see `OnPiece`; of several runs it is told the mean.

    Raises:
        RequestError: the model's file cannot make what is missing.
    """
    options = {"size": size, "keep": keep, "piece": piece, "place": model.place}
    if compose_of(model.config) == "chain":
        return _in_turn(model, scenes, keys, steps, sampling, known, pixels or {}, on_piece, **options)
    tokens, guidance = model.tokens(*scenes), model.guidance(sampling)
    options |= {"negative_ids": model.negative_ids(sampling), "known": known, "on_piece": on_piece}
    return generate_layers(model.config, model.params, tokens, model.empty_ids, keys, steps, guidance, **options)


def _in_turn(
    model: Model,
    scenes: Sequence[Sequence[str]],
    keys: Key[Array, " b"],
    steps: Steps,
    sampling: Sampling,
    known: KnownLatents | None,
    pixels: Pixels,
    on_piece: OnPiece | None,
    *,
    size: tuple[int, int],
    keep: int,
    piece: int | None,
    place: Place,
) -> GeneratedLatents:
    """The chain: each layer that is not known whole by a run of its own."""
    config, k, b = model.config, len(scenes[0]), len(scenes)
    turns = [i for i in range(k) if known is None or not np.asarray(known.mask[i]).all()]
    _check_turns(config, turns)
    latent = (1, b, size[0] // config.vae.downscale, size[1] // config.vae.downscale, config.unet.in_channels)
    of_layer: dict[int, Trajectory] = {}
    maps = {i: jnp.zeros((b, *_map_sides(config, latent))) for i in range(k)}
    pictures = dict(pixels)
    for i in sorted(set(range(k)) - set(turns)):
        noise = layer_noise(_own_keys(keys, i), latent, False)
        of_layer[i] = noised(known.latents[i : i + 1], noise, steps[len(steps) - keep :])
        maps[i] = mean_over_cells(pictures[i][..., 3], *maps[i].shape[1:]) if i else maps[i]
    whole = None
    for turn, i in enumerate(turns):
        told = on_piece and partial(_told_of_several, on_piece, turn, len(turns), len(steps))
        options = {"size": size, "keep": keep, "piece": piece, "place": place, "on_piece": told}
        made = _one_layer(model, scenes, i, pictures, _own_keys(keys, i), steps, sampling, known, **options)
        of_layer[i], whole = _layer(made.trajectory, 0), None
        pictures[i] = _decoded(model, made.latents[0], opaque=i == 0)
        if len(made.latents) > 1:
            maps[i] = made.context_maps[0]
            whole = _layer(made.trajectory, 1) if i in (0, k - 1) else None
    if whole is None:
        stacked = encode_pictures(config, model.params["vae"], composite(jnp.stack([pictures[i] for i in range(k)])), model.place)
        whole = noised(stacked[None], layer_noise(_own_keys(keys, k), latent, False), steps[len(steps) - keep :])
    layers = [of_layer[i] for i in range(k)] + [whole]
    trajectory = Trajectory(
        states=jnp.concatenate([layer.states for layer in layers], axis=1), clean=jnp.concatenate([layer.clean for layer in layers])
    )
    return GeneratedLatents(trajectory=trajectory, context_maps=jnp.stack([*(maps[i] for i in range(k)), jnp.zeros_like(maps[0])]))


def _check_turns(config: DreamLayerConfig, turns: list[int]) -> None:
    if config.layered.layer_attention.kind == "fg2bg" and turns and turns != [0]:
        raise RequestError(
            f"LayerDiffusion's fg2bg makes a background for given foregrounds, but layer {turns[-1]}, a foreground, is not given: give it, "
            "or load bg2fg, joint or transparent_attn"
        )


def _one_layer(
    model: Model,
    scenes: Sequence[Sequence[str]],
    i: int,
    pictures: Pixels,
    keys: Key[Array, " b"],
    steps: Steps,
    sampling: Sampling,
    known: KnownLatents | None,
    **options: object,
) -> GeneratedLatents:
    """Layer i for the layers that are there: in a layer batch with the whole picture, or alone where nothing steers it."""
    config, guidance, negative = model.config, model.guidance(sampling), model.negative_ids(sampling)
    behind = config.layered.layer_attention.kind == "fg2bg"
    prompts = scenes if behind else [scene[: i + 1] for scene in scenes]
    contexts = guidance_contexts(config, model.params, model.tokens(*prompts).only(i), model.empty_ids, guidance, negative, model.place)
    if behind or i:
        there = [pictures[j] for j in (range(1, len(scenes[0])) if behind else range(i))]
        grey = jnp.ones_like(there[0]).at[..., :3].set(MID_GREY)
        contexts = steered(config, model.params, contexts, composite(jnp.stack([grey, *there])))
        contexts = contexts.replace(role=jnp.array([Role.BACKGROUND if behind else Role.FOREGROUND, Role.GLOBAL], jnp.int32))
    else:
        config, contexts = config.without_layer_attention, jax.tree.map(lambda x: x[:1], contexts)
    part = None
    if known is not None:
        rest = jnp.zeros((len(contexts.role) - 1, *known.latents.shape[1:]))
        latents = jnp.concatenate([known.latents[i : i + 1], rest])
        part = KnownLatents(latents=latents, mask=jnp.concatenate([known.mask[i : i + 1], rest[..., :1]]))
    return generate_from(config, model.params["unet"], contexts, keys, steps, guidance, known=part, **options)


def _decoded(model: Model, latent: Float[Array, "b h w c"], opaque: bool) -> Float[Array, "b H W 4"]:
    if not opaque:
        return decode_foregrounds(model.config, model.decoders(), latent, place=model.place)
    rgb = decode_latents(model.config, model.params["vae"], latent, model.place)
    return jnp.concatenate([rgb, jnp.ones_like(rgb[..., :1])], axis=-1)


def _layer(trajectory: Trajectory, i: int) -> Trajectory:
    return Trajectory(states=trajectory.states[:, i : i + 1], clean=trajectory.clean[i : i + 1])


def _own_keys(keys: Key[Array, " b"], i: int) -> Key[Array, " b"]:
    """A layer's own noise, whatever else is made."""
    return jax.vmap(lambda key: jax.random.fold_in(key, i))(keys)


def _map_sides(config: DreamLayerConfig, latent: tuple[int, ...]) -> list[int]:
    return [side >> config.layered.context_block if config.layered.context_map else 1 for side in latent[2:4]]


def _told_of_several(on_piece: OnPiece, turn: int, turns: int, steps: int, done: int, z: Array) -> None:
    """`done` steps of one of several runs, as if all were one."""
    on_piece((turn * steps + done) // turns, z)
