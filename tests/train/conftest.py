"""A world of a few shapes and a model of a few thousand parameters."""

from __future__ import annotations

from pathlib import Path

import pytest

from dreamlayer_jax.config import DreamLayerConfig, LayerDecoderConfig, LayeredConfig, TextConfig, UNetConfig, VAEConfig
from train.configs.pocket import PocketTraining
from train.optimizer import OptimizerConfig
from train.scene_cache import SceneSet

_QUICK = OptimizerConfig(matrices="adam", warmup_steps=2)  # Muon takes long to compile


def tiny_model() -> DreamLayerConfig:
    """16x16 pixels, 2x2 latents of 4 channels."""
    return DreamLayerConfig(
        name="tiny",
        sample_size=16,
        unet=UNetConfig(
            block_out_channels=(8,),
            cross_attention=(True,),
            layers_per_block=1,
            num_attention_heads=2,
            cross_attention_dim=8,
            norm_num_groups=4,
        ),
        vae=VAEConfig(
            block_out_channels=(8, 8),
            layers_per_block=1,
            norm_num_groups=4,
            patch_size=4,
            mid_block_add_attention=False,
            scaling_factor=1.0,
        ),
        text=TextConfig(
            vocab_size=1024,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=32,
        ),
        layer_decoder=LayerDecoderConfig(block_out_channels=(4, 4, 8, 8), attention=(False,) * 4, layers_per_block=1),
        layered=LayeredConfig(context_block=0, context_layers=1, context_width=8),
    )


@pytest.fixture(scope="session")
def tiny_training() -> PocketTraining:
    """Shapes only: small and quickly made."""
    return PocketTraining(
        model=tiny_model(),
        scenes=SceneSet(scenes=12, world="shapes", size=16, shard_size=4, layer_pattern=(3, 2)),
        held_out=SceneSet(scenes=4, world="shapes", size=16, shard_size=4, layer_pattern=(3,), split="held_out"),
        autoencoder_scenes=12,
        autoencoder_steps=6,
        autoencoder_batch=4,
        autoencoder_optimizer=_QUICK,
        layer_decoder_steps=3,
        layer_decoder_batch=2,
        layer_decoder_optimizer=_QUICK,
        diffusion_steps=2,
        diffusion_images=8,
        diffusion_optimizer=_QUICK,
        picture_prompts=(("a desert", "a red circle"),),
    )


@pytest.fixture(scope="session")
def trained_workdir(tiny_training: PocketTraining, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workdir in which the autoencoder and the layer decoder have been trained."""
    from train.loop import LoopConfig, fit

    workdir = tmp_path_factory.mktemp("run")
    loop = LoopConfig(log_every=2, picture_every=3, checkpoint_every=4)
    for name in ("autoencoder", "layer_decoder"):
        tiny_training.prepare(name, workdir)
        fit(tiny_training.stage(name, workdir), workdir, loop, tiny_training)
    return workdir
