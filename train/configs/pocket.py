"""The pocket model, its stages trained one after the other.

python -m train --config pocket --workdir runs/pocket                              everything from scratch
python -m train --config pocket --workdir runs/pocket --start path/to/pocket       the diffusion model goes on from an earlier pocket's

The autoencoder: 64 numbers a patch of 8×8 pixels, started from principal components. On 500 held-out scenes these alone give 39.1 dB on
backgrounds, 35.3 dB on objects over grey and 32.0 dB on global pictures; 220 steps of the convolutions on top, 41.3, 35.7 and 32.5 dB.

The shipped weights: the diffusion model of an earlier pocket (16 numbers a patch; 4,500 steps, then 2,000 of `refine.py`; in the history as
commit 16a8ee6) carried over to the new latents (`train/carry_over.py`), then the steps that the model card names.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from transformers import CLIPTokenizer

from data.captions import all_captions
from dreamlayer_jax.config import DreamLayerConfig, pocket
from dreamlayer_jax.pipeline import DreamLayer
from dreamlayer_jax.weights.formats.config_json import read_config
from train.autoencoder import Autoencoder
from train.carry_over import carry_over
from train.diffusion import DiffusionStage, LossConfig
from train.export import load_params
from train.given import GivenShares
from train.images import layer_images
from train.latents import Encoder, build_latents, open_latents
from train.layer_decoder import LayerDecoderStage
from train.optimizer import OptimizerConfig
from train.processes import by_first
from train.scene_cache import SceneSet, open_scene_cache, open_world
from train.scene_shards import cached_shards, compose
from train.ship import ship
from train.stage import Params, Stage
from train.tokenizer import build_tokenizer

PICTURE_PROMPTS = (
    ("a sandy beach", "a red apple", "a dog"),
    ("a green meadow", "a teddy bear", "a balloon"),
    ("a snowy field", "a house", "a penguin"),
    ("a wooden room", "a guitar", "a pumpkin"),
    ("the city street", "a bus", "an elephant"),
    ("a desert", "a cactus", "a top hat"),
)
DIFFUSION_LOSSES = LossConfig(weighting="clipped_v", given=GivenShares(picture=0.25, layers=0.15, some=0.15))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PocketTraining:
    """Every figure of the run. Held-out scenes are of the held-out split, so no seed can bring them into training."""

    stages: ClassVar[tuple[str, ...]] = ("autoencoder", "layer_decoder", "diffusion")

    model: DreamLayerConfig = pocket()
    scenes: SceneSet = SceneSet(scenes=16_000)
    held_out: SceneSet = SceneSet(scenes=500, split="held_out")

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the UNet's activations."""
    autoencoder_scenes: int = 6_000
    autoencoder_steps: int = 220
    autoencoder_batch: int = 64
    autoencoder_optimizer: OptimizerConfig = OptimizerConfig(learning_rate=1e-2, adam_learning_rate=2e-3, warmup_steps=50)

    layer_decoder_steps: int = 600
    layer_decoder_batch: int = 16
    layer_decoder_optimizer: OptimizerConfig = OptimizerConfig(learning_rate=1e-2, adam_learning_rate=2e-3, warmup_steps=50)

    start: str | None = None
    """A trained model of these scenes: its diffusion model goes on, carried over to the new autoencoder's latents; random without it."""
    diffusion_steps: int = 4_500
    diffusion_images: int = 48
    diffusion_optimizer: OptimizerConfig = OptimizerConfig(
        learning_rate=1e-2, adam_learning_rate=2e-3, schedule="trapezoid", warmup_steps=50
    )
    picture_prompts: tuple[tuple[str, ...], ...] = PICTURE_PROMPTS
    diffusion_losses: LossConfig = DIFFUSION_LOSSES

    def prepare(self, stage: str, workdir: Path) -> None:
        """Makes what `stage` reads and `workdir` does not hold yet: tokenizer, rendered scenes, latents."""
        captions, text = all_captions(open_world(self.scenes.world)), self.model.text
        learn_words = partial(build_tokenizer, captions, workdir / "tokenizer", text.max_position_embeddings, text.vocab_size)
        by_first(learn_words, "tokenizer built")
        compose(self.held_out, workdir / "scenes_held_out")
        if stage == "autoencoder":
            compose(self.autoencoder_scene_set, workdir / "scenes")
            return
        compose(self.scenes, workdir / "scenes")
        vae = load_params(workdir / "autoencoder" / "params.safetensors")["vae"]
        tokenizer = CLIPTokenizer.from_pretrained(workdir / "tokenizer")
        encoder = Encoder(config=self.trained_model(workdir), vae_params=vae, tokenizer=tokenizer)
        build_latents(encoder, cached_shards(self.scenes, workdir / "scenes"), workdir / "latents", renew=True)

    def stage(self, stage: str, workdir: Path) -> Stage:
        """The stage of that name, ready for `fit` once `prepare` has run."""
        if stage == "autoencoder":
            return self.autoencoder(workdir)
        if stage == "layer_decoder":
            return self.layer_decoder(workdir)
        if stage == "diffusion":
            return self.diffusion(workdir)
        raise ValueError(f"unknown stage {stage!r}; stages are {', '.join(self.stages)}")

    def ship(self, workdir: Path, folder: Path) -> None:
        """The three exported stages as a model folder."""
        ship(self.trained_model(workdir), self.scenes, workdir, folder, self.start)

    @property
    def autoencoder_scene_set(self) -> SceneSet:
        """The first `autoencoder_scenes` of `scenes`."""
        return dataclasses.replace(self.scenes, scenes=min(self.autoencoder_scenes, self.scenes.scenes))

    def trained_model(self, workdir: Path) -> DreamLayerConfig:
        """The model with the scaling factor that the autoencoder stage measured."""
        path = workdir / "autoencoder" / "config.json"
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist: run the stage 'autoencoder' of this workdir first")
        return dataclasses.replace(self.model, vae=read_config(path).vae)

    def autoencoder(self, workdir: Path) -> Autoencoder:
        """Stage 1: pictures to latents and back."""
        return Autoencoder(
            model=self.model,
            workdir=workdir,
            scenes=self.autoencoder_scene_set,
            held_out=self.held_out,
            steps=self.autoencoder_steps,
            batch_size=self.autoencoder_batch,
            optimizer_config=self.autoencoder_optimizer,
        )

    def layer_decoder(self, workdir: Path) -> LayerDecoderStage:
        """Stage 2: alpha and colour of a decoded layer."""
        return LayerDecoderStage(
            model=self.trained_model(workdir),
            workdir=workdir,
            scenes=self.scenes,
            held_out=self.held_out,
            steps=self.layer_decoder_steps,
            batch_size=self.layer_decoder_batch,
            optimizer_config=self.layer_decoder_optimizer,
        )

    def diffusion(self, workdir: Path) -> DiffusionStage:
        """Stage 3: the text tower and the layered UNet on cached latents."""
        return DiffusionStage(
            config=self.trained_model(workdir),
            tokenizer=CLIPTokenizer.from_pretrained(workdir / "tokenizer"),
            sources=open_latents(workdir / "latents", len(self.scenes.shards)),
            picture_prompts=self.picture_prompts,
            vae_params=load_params(workdir / "autoencoder" / "params.safetensors")["vae"],
            steps=self.diffusion_steps,
            start=self._carried_over(workdir),
            images_per_batch=self.diffusion_images,
            losses=self.diffusion_losses,
            optimizer_config=self.diffusion_optimizer,
        )

    def _carried_over(self, workdir: Path) -> Params | None:
        if self.start is None:
            return None
        shards = open_scene_cache(self.held_out, workdir / "scenes_held_out")
        pictures = np.concatenate([layer_images(s.rgba[:100], s.global_rgb[:100]).reshape(-1, *s.rgba.shape[2:4], 3) for s in shards])
        vae = load_params(workdir / "autoencoder" / "params.safetensors")["vae"]
        tokenizer = CLIPTokenizer.from_pretrained(workdir / "tokenizer")
        return carry_over(DreamLayer.from_pretrained(self.start), self.trained_model(workdir), vae, tokenizer, pictures)
