"""The models of the ablation (the paper's Table 3), trained equally: neither part, LSSA alone, CACA alone, both.

The paper's four start from Stable Diffusion 1.5, which makes good single pictures. Ours start from one base in its place: trained weights,
without their context maps, trained on with both parts off, so that every layer, the global one too, is made alone from its own prompt.
Each of the four then goes on from there, on the same batches, with the same noise, optimizer and number of steps.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from dreamlayer_jax.config import LayeredConfig
from dreamlayer_jax.models.init import init_params
from dreamlayer_jax.pipeline import DreamLayer
from train.configs.pocket import PocketTraining
from train.diffusion import DiffusionStage
from train.export import params_digest
from train.given import GivenShares
from train.latents import Encoder, build_latents, open_latents
from train.loop import LoopConfig, fit
from train.scene_cache import build_scene_cache
from train.scene_shards import cached_shards
from train.stage import Params

MODELS = ("neither", "LSSA", "CACA", "both")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long the models are trained, from the base on."""

    base_steps: int = 450
    """Of the base, after those of the weights that it starts from."""
    steps: int = 450
    """Of each model, after the base's."""
    images: int = 24
    """Layer images a step."""


def with_parts(name: str, config: LayeredConfig) -> LayeredConfig:
    """`config` with the parts of model `name`. Eq. 9 is LSSA's but needs CACA's maps: only "both" has it. No layer is given."""
    lssa, caca = name in ("LSSA", "both"), name in ("CACA", "both")
    return dataclasses.replace(config, layer_shared=lssa, context_map=caca, guided=lssa and caca, given_clean=False)


def folder_of(trained: DreamLayer) -> str:
    """Where in a workdir everything is that comes from these very weights."""
    return f"ablation/{trained.config.name}-{params_digest(trained.params)[:8]}"


def train_models(
    schedule: Schedule, training: PocketTraining, trained: DreamLayer, workdir: Path, loop: LoopConfig
) -> dict[str, DreamLayer]:
    """{name: model}, on the scenes of `training`, from `trained` on, whose autoencoder and layer decoder all have.

    Goes on from where `folder_of(trained)` in `workdir` is.
    """
    latents = workdir / folder_of(trained) / "latents"
    build_scene_cache(training.scenes, workdir / "scenes")
    encoder = Encoder(config=trained.config, vae_params=trained.params["vae"], tokenizer=trained.tokenizer)
    build_latents(encoder, cached_shards(training.scenes, workdir / "scenes"), latents, renew=True)
    stage = DiffusionStage(
        name=folder_of(trained),
        config=trained.config,
        tokenizer=trained.tokenizer,
        sources=open_latents(latents, len(training.scenes.shards)),
        picture_prompts=training.picture_prompts,
        vae_params=trained.params["vae"],
        steps=0,
        images_per_batch=schedule.images,
        losses=dataclasses.replace(training.diffusion_losses, given=GivenShares()),
        optimizer_config=training.diffusion_optimizer,
    )
    base = fit(variant(stage, "base", trained.params, schedule.base_steps), workdir, loop, schedule)
    models, decoders = {}, {network: trained.params[network] for network in ("vae", "layer_decoder")}
    for name in MODELS:
        one = variant(stage, name, base, schedule.steps)
        params = fit(one, workdir, loop, schedule)
        models[name] = DreamLayer(config=one.config, params=params | decoders, tokenizer=trained.tokenizer)
    return models


def variant(stage: DiffusionStage, name: str, start: Params, steps: int) -> DiffusionStage:
    """`stage` for the base or a model, from `start`'s parameters: what `start` lacks begins at random, what the model lacks is left out."""
    config = dataclasses.replace(stage.config, layered=with_parts(name, stage.config.layered))
    fresh = init_params(config, jax.random.key(0), ("unet", "text_encoder", "layer_assign"))
    there = flatten_dict(start)
    chosen = unflatten_dict({path: there.get(path, leaf) for path, leaf in flatten_dict(fresh).items()})
    return dataclasses.replace(stage, name=f"{stage.name}/{name}", config=config, start=chosen, steps=steps)
