"""Prompt sets to pictures: layers, the global picture and the IRH composite, many scenes of one layer count at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from tqdm.auto import tqdm

from data.source import Example
from dreamlayer_jax.request import MAX_SEED, RequestError, Sampling
from dreamlayer_jax.tasks.harmonize import Window, check_window, window_steps
from sample.evaluate.probe import SIDE
from sample.evaluate.scenes import ScenePictures, batches_of_equal_k

if TYPE_CHECKING:
    from dreamlayer_jax.pipeline import DreamLayer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Making:
    """How the scenes are made."""

    sampling: Sampling
    seed: int
    """Added to each scene's own."""
    batch: int
    window: Window | None
    """(T_H, T'_H); None makes no composite."""


def check_model(model: DreamLayer, making: Making) -> None:
    """Raises `RequestError` where this model cannot be sampled so, or the probe cannot read its pictures. Prompts are not looked at."""
    config = model.config
    if config.sample_size != SIDE:
        raise RequestError(f"the model makes {config.sample_size}-pixel pictures; the probe reads {SIDE}: give a model of {SIDE} pixels")
    model.decoders()
    steps = model.steps(making.sampling)
    if making.window is not None:
        check_window(making.window, config.schedule.num_train_timesteps)
        window_steps(steps, making.window)


def generated_pictures(model: DreamLayer, making: Making, examples: Sequence[Example]) -> list[ScenePictures]:
    """One generated scene for each example's prompts, fewest layers first.

    Raises `RequestError` or `PromptError` for more foregrounds or longer prompts than the model takes.
    """
    for example in examples:
        model.tokens(example["prompts"])
    scenes = []
    with tqdm(total=len(examples), desc="scenes") as bar:
        for batch in batches_of_equal_k(examples, making.batch):
            # A short last batch is filled up, for one compilation a layer count.
            filled = batch + [batch[-1]] * (min(making.batch, len(examples)) - len(batch))
            made = model.generate_batch(
                [example["prompts"] for example in filled],
                seeds=[(making.seed + example["seed"]) % (MAX_SEED + 1) for example in filled],
                harmonize=making.window or False,
                **vars(making.sampling),
            )
            for image, example in zip(made, batch, strict=False):
                rgba = np.stack([layer.rgba_straight for layer in image.layers])
                pictures = {"rgba": rgba, "global_rgb": image.global_rgb, "composite_rgb": image.composite_rgb}
                scenes.append(ScenePictures(**pictures, **{name: example[name] for name in ("names", "prompts", "seed")}))
            bar.update(len(batch))
    return scenes
