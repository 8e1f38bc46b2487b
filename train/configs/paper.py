"""The paper's model: Stable Diffusion 1.5 becomes layered (paper §2, §9), Custom-Diffusion style.

python -m train --config paper --base sd15 --data datasets/layered_scenes/1.0.0 --workdir runs/paper

`--base`: whatever `DreamLayer.from_pretrained` loads; `--data`: a folder that `python -m data build` named, or one of layered images
(`data/folder.py`). First the scenes of two layers, then, from there, those of three and four. Both K/V sets of all attentions, the
layer-assign embeddings and the context-aware layers learn; everything else is frozen, and costs no gradient and no optimizer state.
At Stable Diffusion's size 88.5 M parameters learn and 938.6 M are frozen (text tower included).

The paper trained on two A100 for four days; not trained at that size here. It does not say how long the second stage was: here the
two stages see their data equally often (102,386 scenes of three and four layers, 305,801 of two).
"""

from __future__ import annotations

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

from data.folder import FolderSource
from data.source import ExampleSource
from dreamlayer_jax.pipeline import DreamLayer
from dreamlayer_jax.place import make_place
from dreamlayer_jax.weights.formats.checkpoint_folder import save_pretrained
from train.diffusion import DiffusionStage, LossConfig
from train.export import lay_over_exported
from train.latents import Encoder, build_latents, open_latents
from train.optimizer import OptimizerConfig
from train.scene_shards import SceneShard, source_shards
from train.ship import stage_table

LAYER_COUNTS = {"two_layers": (2,), "more_layers": (3, 4)}
PICTURE_PROMPTS = (
    ("a sandy beach at sunset", "a golden retriever"),
    ("a wooden table", "a cup of coffee"),
    ("a city street in the rain", "a woman with a red umbrella"),
    ("a green meadow with mountains", "a white horse"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PaperTraining:
    """Every figure of the run."""

    stages: ClassVar[tuple[str, ...]] = tuple(LAYER_COUNTS)

    base: str
    """The model to start from: a file, a folder or a hub id."""
    data: Path
    """A TFDS data set, or a folder of layered images."""
    split: str = "train"
    """Which split of a TFDS data set."""
    tokenizer: str | None = None
    """For a base without one: a folder or hub id."""
    layer_decoder: Path | None = None
    """LayerDiffusion's file, for `ship`: without it the shipped model cannot generate."""
    size: int | None = None
    """Pixels a side that pictures are scaled and cut to; the base's own (512 for Stable Diffusion 1.5) if not given."""

    two_layers_steps: int = 60_000
    more_layers_steps: int = 20_000
    batch_size: int = 4
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Of the UNet's activations, and of the kernels that do not learn."""
    remat: bool = True
    ema_decay: float = 0.9999
    encode_batch: int = 1
    losses: LossConfig = LossConfig()
    """λ = 1 (Eq. 8); `--losses.weighting min_snr` weighs timesteps."""
    optimizer: OptimizerConfig = OptimizerConfig(
        matrices="adam", learning_rate=2e-6, schedule="constant", warmup_steps=0, adam_b2=0.999, weight_decay=0.01
    )
    picture_prompts: tuple[tuple[str, ...], ...] = PICTURE_PROMPTS

    @cached_property
    def model(self) -> DreamLayer:
        """The base, layered: float32, on the default device."""
        return DreamLayer.from_pretrained(self.base, tokenizer=self.tokenizer)

    @cached_property
    def shards(self) -> list[SceneShard]:
        """The data, as it is encoded."""
        source, size = open_data(self.data, self.split), self.size or self.model.config.sample_size
        return source_shards(source, f"{self.data.absolute()} {self.split}", size)

    def prepare(self, stage: str, workdir: Path) -> None:
        """Encodes what `workdir` does not hold yet; the same for both stages."""
        del stage
        model = self.model
        encoder = Encoder(
            config=model.config,
            vae_params=model.params["vae"],
            tokenizer=model.tokenizer,
            batch_size=self.encode_batch,
        )
        build_latents(encoder, self.shards, workdir / "latents")

    def stage(self, stage: str, workdir: Path) -> DiffusionStage:
        """ "two_layers" from the base, "more_layers" from the exported average of "two_layers"."""
        model, steps = self.model, {"two_layers": self.two_layers_steps, "more_layers": self.more_layers_steps}[stage]
        networks = {name: model.params[name] for name in ("unet", "text_encoder", "layer_assign")}
        return DiffusionStage(
            name=stage,
            config=model.config,
            tokenizer=model.tokenizer,
            sources=open_latents(workdir / "latents", len(self.shards), LAYER_COUNTS[stage]),
            picture_prompts=self.picture_prompts,
            vae_params=model.params["vae"],
            steps=steps,
            start=networks if stage == "two_layers" else lay_over_exported(networks, workdir / "two_layers"),
            learns="paper",
            ema_decay=self.ema_decay,
            scenes_per_batch=self.batch_size,
            place=make_place(dtype=self.dtype),
            remat=self.remat,
            losses=self.losses,
            optimizer_config=self.optimizer,
        )

    def ship(self, workdir: Path, folder: Path) -> None:
        """The base with the newest exported stage as a whole model folder, bfloat16."""
        trained = [stage for stage in self.stages if (workdir / stage / "trained").is_dir()]
        if not trained:
            raise FileNotFoundError(f"{workdir} holds no trained part yet: run the stage 'two_layers' first, or `export` it")
        newest = workdir / trained[-1] / "trained"
        model = DreamLayer.from_pretrained(self.base, self.layer_decoder, tokenizer=self.tokenizer, trained=newest)
        lines = ["# DreamLayer", "", f"Base: {self.base}. Data: {self.data}, split {self.split}.", "", *stage_table(workdir, trained)]
        save_pretrained(folder, model.config, model.params, model.tokenizer, card="\n".join(lines) + "\n")


def open_data(folder: Path, split: str) -> ExampleSource:
    """A TFDS data set, if the folder says that it is one, or else a folder of layered images."""
    if (folder / "dataset_info.json").is_file():
        from data.tfds_builder import StoredScenes

        return StoredScenes(folder, split)
    return FolderSource(folder)
