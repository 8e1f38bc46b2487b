"""The models of the ablation (the paper's Table 3), trained equally: neither part, LSSA alone, CACA alone, both.

The paper's four start from Stable Diffusion 1.5, which makes single pictures. Ours start from one base in its place: the pocket's network,
trained from random on the same scenes with both parts off, so that every layer, the global one too, is made alone from its own prompt.
Each of the four then goes on from there, on the same batches, with the same noise, optimizer and number of steps.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from dreamlayer_jax.config import LayeredConfig
from dreamlayer_jax.pipeline import DreamLayer
from dreamlayer_jax.weights.init import init_params
from train.configs.pocket import PocketTraining
from train.diffusion import DiffusionStage
from train.export import load_params
from train.given import GivenShares
from train.loop import LoopConfig, fit
from train.stage import Params

MODELS = ("neither", "LSSA", "CACA", "both")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long the models are trained, from the base on."""

    base_steps: int = 900
    steps: int = 550
    """Of each model, after the base's."""
    images: int = 24
    """Layer images a step."""


def with_parts(name: str, config: LayeredConfig) -> LayeredConfig:
    """`config` with the parts of model `name`. Eq. 9 is LSSA's but needs CACA's maps: only "both" has it. No layer is given."""
    lssa, caca = name in ("LSSA", "both"), name in ("CACA", "both")
    return dataclasses.replace(config, layer_shared=lssa, context_map=caca, guided=lssa and caca, given_clean=False)


def train_models(schedule: Schedule, training: PocketTraining, workdir: Path, loop: LoopConfig = LoopConfig()) -> dict[str, DreamLayer]:
    """{name: model}. Goes on from where `workdir/ablation` is; needs the workdir's trained autoencoder and layer decoder."""
    training.prepare("diffusion", workdir)
    decoders = {
        network: load_params(workdir / stage / "params.safetensors")[network]
        for stage, network in (("autoencoder", "vae"), ("layer_decoder", "layer_decoder"))
    }
    stage = training.diffusion(workdir)
    stage = dataclasses.replace(
        stage, whole=True, images_per_batch=schedule.images, losses=dataclasses.replace(stage.losses, given=GivenShares())
    )
    base = fit(variant(stage, "base", None, schedule.base_steps), workdir, loop, schedule)
    models = {}
    for name in MODELS:
        one = variant(stage, name, base, schedule.steps)
        params = fit(one, workdir, loop, schedule)
        models[name] = DreamLayer(config=one.config, params=params | decoders, tokenizer=stage.tokenizer)
    return models


def variant(stage: DiffusionStage, name: str, base: Params | None, steps: int) -> DiffusionStage:
    """`stage` for one model; what the base does not have starts at random."""
    config = dataclasses.replace(stage.config, layered=with_parts(name, stage.config.layered))
    start = None
    if base is not None:
        fresh = init_params(config, jax.random.key(0), ("unet", "text_encoder", "layer_assign"))
        start = unflatten_dict(flatten_dict(fresh) | flatten_dict(base))
    return dataclasses.replace(stage, name=f"ablation/{name}", config=config, start=start, steps=steps)
