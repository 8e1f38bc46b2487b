"""Prompt sets to pictures: layers, the global picture and the IRH composite, many scenes of one layer count at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np
from tqdm import tqdm

from data.source import Example
from dreamlayer_jax.compositing import to_uint8
from dreamlayer_jax.diffusion.decode import decode_layers
from dreamlayer_jax.diffusion.generate import generate_layers
from dreamlayer_jax.prompts import tokenize
from dreamlayer_jax.request import RequestError
from dreamlayer_jax.tasks.harmonize import Window, changed_blend, check_window, harmonized_batch, window_steps
from sample.evaluate.probe import SIDE
from sample.evaluate.scenes import ScenePictures, batches_of_equal_k

if TYPE_CHECKING:
    from dreamlayer_jax.pipeline import DreamLayer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the scenes are made."""

    steps: int
    guidance: float
    seed: int
    batch: int
    window: Window | None
    """(T_H, T'_H); None makes no composite."""


def check_model(model: DreamLayer, sampling: Sampling) -> None:
    """Raises `RequestError` where this model cannot be sampled so, or the probe cannot read its pictures. Prompts are not looked at."""
    config = model.config
    if config.sample_size != SIDE:
        raise RequestError(f"the model makes {config.sample_size}-pixel pictures; the probe reads {SIDE}: give a model of {SIDE} pixels")
    model.decoders()
    model.tokens([""], sampling.steps)
    if sampling.window is not None:
        check_window(sampling.window, config.schedule.num_train_timesteps)
        window_steps(model, sampling.steps, sampling.window)


def generated_pictures(model: DreamLayer, sampling: Sampling, examples: Sequence[Example]) -> list[ScenePictures]:
    """One generated scene for each example's prompts, fewest layers first.

    Raises `RequestError` or `PromptError` for more foregrounds or longer prompts than the model takes.
    """
    for example in examples:
        model.tokens(example["prompts"])
    scenes = []
    with tqdm(total=len(examples), desc="scenes") as bar:
        for number, batch in enumerate(batches_of_equal_k(examples, sampling.batch)):
            # A short last batch is filled up, for one compilation a layer count.
            filled = batch + [batch[-1]] * (min(sampling.batch, len(examples)) - len(batch))
            rng = jax.random.fold_in(jax.random.key(sampling.seed), number)
            rgba, global_rgb, composites = _generate(model, sampling, [example["prompts"] for example in filled], rng)
            for n, example in enumerate(batch):
                pictures = {"rgba": rgba[:, n], "global_rgb": global_rgb[n], "composite_rgb": None if composites is None else composites[n]}
                scenes.append(ScenePictures(**pictures, **{name: example[name] for name in ("names", "prompts", "seed")}))
            bar.update(len(batch))
    return scenes


def _generate(
    model: DreamLayer, sampling: Sampling, prompts: Sequence[Sequence[str]], rng: jax.Array
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Prompts of b scenes of k layers to rgba (k, b, h, w, 4), global pictures (b, h, w, 3) and composites (b, h, w, 3), all uint8."""
    config = model.config
    tokens = tokenize(model.tokenizer, list(zip(*prompts, strict=True)), config.text.max_position_embeddings, config.layered.prompt_windows)
    made = generate_layers(config, model.params, tokens, model.empty_ids, rng, steps=sampling.steps, guidance=sampling.guidance)
    decoded = decode_layers(config, model.decoders(), made.latents)
    rgba, composites = np.asarray(to_uint8(decoded.rgba_straight_01)), None
    if sampling.window is not None:
        run = window_steps(model, sampling.steps, sampling.window)
        kept = made.trajectory.last(len(run.t))
        change, _ = harmonized_batch(model, tokens, kept, rgba, run, guidance=sampling.guidance, t_end=sampling.window[1])
        composites = changed_blend(rgba, np.asarray(change))
    return rgba, np.asarray(to_uint8(decoded.global_rgb_01)), composites
