"""The pocket model, everything trained from scratch.

python -m train --config pocket --workdir runs/pocket

Two CPU cores, no accelerator: about 0.4 s a step of the autoencoder, 1.6 s of the layer decoder, 1.7 s of the diffusion stage.
Held-out scenes: autoencoder 33.6 dB on backgrounds, 29.2 dB on objects over grey, 25.3 dB on global pictures; layer decoder: alpha IoU
0.945. The shipped weights saw given layers from step 2,600 of the diffusion stage on, and went
through `refine.py` after it.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from transformers import CLIPTokenizer

from data.captions import all_captions
from dreamlayer_jax.config import DreamLayerConfig, pocket
from dreamlayer_jax.weights.formats.config_json import read_config
from train.autoencoder import Autoencoder
from train.diffusion import DiffusionStage, LossConfig
from train.export import load_params
from train.given import GivenShares
from train.latents import Encoder, build_latents, open_latents
from train.layer_decoder import LayerDecoderStage
from train.optimizer import OptimizerConfig
from train.processes import by_first
from train.scene_cache import WORLDS, SceneSet
from train.scene_shards import cached_shards, compose
from train.ship import ship
from train.stage import Stage
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
    autoencoder_steps: int = 1_500
    autoencoder_batch: int = 64
    autoencoder_optimizer: OptimizerConfig = OptimizerConfig(learning_rate=1e-2, adam_learning_rate=2e-3, warmup_steps=50)

    layer_decoder_steps: int = 600
    layer_decoder_batch: int = 16
    layer_decoder_optimizer: OptimizerConfig = OptimizerConfig(learning_rate=1e-2, adam_learning_rate=2e-3, warmup_steps=50)

    diffusion_steps: int = 4_500
    diffusion_images: int = 48
    diffusion_optimizer: OptimizerConfig = OptimizerConfig(
        learning_rate=1e-2, adam_learning_rate=2e-3, schedule="trapezoid", warmup_steps=50
    )
    picture_prompts: tuple[tuple[str, ...], ...] = PICTURE_PROMPTS
    diffusion_losses: LossConfig = DIFFUSION_LOSSES

    def prepare(self, stage: str, workdir: Path) -> None:
        """Makes what `stage` reads and `workdir` does not hold yet: tokenizer, rendered scenes, latents."""
        captions, text = all_captions(WORLDS[self.scenes.world]()), self.model.text
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
        ship(self.trained_model(workdir), self.scenes, workdir, folder)

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
            images_per_batch=self.diffusion_images,
            losses=self.diffusion_losses,
            optimizer_config=self.diffusion_optimizer,
        )
