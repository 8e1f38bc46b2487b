"""A trained model of scenes goes on: its attention, the text tower's too, and the layers' own parameters learn; the rest is frozen.

python -m train --config refine --weights pocket --workdir runs/refine
python -m train ship --config refine --weights pocket --workdir runs/refine --out model

Attention arranges: with half of the scenes four layers deep (a fifth when the pocket was trained from scratch) covered objects are kept
more often. Autoencoder, layer decoder and convolutions stay bit for bit: 1.1 M of the pocket's parameters change.

Two CPU cores: 0.9 s a step, after 4 minutes in which the scenes are composed and encoded.
"""

from __future__ import annotations

import dataclasses
import json
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

from dreamlayer_jax.pipeline import DreamLayer
from dreamlayer_jax.weights.formats.checkpoint_folder import save_pretrained
from dreamlayer_jax.weights.where import find_model
from train.configs.pocket import DIFFUSION_LOSSES, PICTURE_PROMPTS
from train.diffusion import DiffusionStage, LossConfig
from train.export import lay_over_exported
from train.latents import Encoder, build_latents, open_latents
from train.optimizer import OptimizerConfig
from train.scene_cache import SceneSet
from train.scene_shards import cached_shards, compose
from train.ship import stage_table
from train.stage import Params

FOUR_LAYERS_OFTEN = (4, 2, 4, 3, 4, 3, 4, 2, 3, 4)  # 20% two, 30% three, 50% four


@dataclasses.dataclass(frozen=True, kw_only=True)
class RefineTraining:
    """Every figure of the run."""

    stages: ClassVar[tuple[str, ...]] = ("refine",)

    weights: str = "pocket"
    """The model to go on from, whose words and picture size are those of the scenes: "pocket", or a folder that `ship` wrote."""
    scenes: SceneSet = SceneSet(scenes=24_000, layer_pattern=FOUR_LAYERS_OFTEN)
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the UNet's activations."""
    refine_steps: int = 2_000
    images: int = 48
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=5e-3, adam_learning_rate=1e-3, schedule="trapezoid", warmup_steps=30)
    losses: LossConfig = DIFFUSION_LOSSES
    picture_prompts: tuple[tuple[str, ...], ...] = PICTURE_PROMPTS

    @cached_property
    def model(self) -> DreamLayer:
        """What training starts from, float32."""
        return DreamLayer.from_pretrained(self.weights)

    @property
    def _networks(self) -> Params:
        return {name: self.model.params[name] for name in ("unet", "text_encoder", "layer_assign")}

    def prepare(self, stage: str, workdir: Path) -> None:
        """Composes and encodes what `workdir` does not hold yet; looks at `weights` first."""
        del stage
        encoder = Encoder(config=self.model.config, vae_params=self.model.params["vae"], tokenizer=self.model.tokenizer)
        compose(self.scenes, workdir / "scenes")
        build_latents(encoder, cached_shards(self.scenes, workdir / "scenes"), workdir / "latents", renew=True)

    def stage(self, stage: str, workdir: Path) -> DiffusionStage:
        """The one stage, from `weights`."""
        model = self.model
        return DiffusionStage(
            name=stage,
            config=model.config,
            tokenizer=model.tokenizer,
            sources=open_latents(workdir / "latents", len(self.scenes.shards)),
            picture_prompts=self.picture_prompts,
            vae_params=model.params["vae"],
            steps=self.refine_steps,
            start=self._networks,
            learns="attention",
            images_per_batch=self.images,
            losses=self.losses,
            optimizer_config=self.optimizer,
        )

    def ship(self, workdir: Path, folder: Path) -> None:
        """`weights` with what learned in its place, and the stage in its model card."""
        start = find_model(self.weights)
        vocabulary, card = (start / name for name in ("vocabulary.json", "README.md"))
        if not vocabulary.is_file():
            raise FileNotFoundError(f"{vocabulary} does not exist: `ship` goes on from a folder that `python -m train ship` wrote")
        save_pretrained(
            folder,
            self.model.config,
            self.model.params | lay_over_exported(self._networks, workdir / "refine"),
            start / "tokenizer",
            json.loads(vocabulary.read_text(encoding="utf-8")),
            self._card(workdir, card.read_text(encoding="utf-8")),
        )

    def _card(self, workdir: Path, card: str) -> str:
        """`card` with this stage's data before its table, and a row more in it."""
        heading, _, row = stage_table(workdir, self.stages)
        above, _, below = card.partition(heading)
        scenes = self.scenes
        data = f"Refined on {scenes.scenes} scenes, seeds from {scenes.first_seed}, {scenes.layer_pattern} layers in turn."
        return f"{above}{data}\n\n{heading}{below}{row}\n"
