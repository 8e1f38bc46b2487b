"""A whole model of a few thousand random parameters in a folder, and the command line run in this process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from dreamlayer_jax.config import DreamLayerConfig, LayerDecoderConfig, LayeredConfig, TextConfig, UNetConfig, VAEConfig
from dreamlayer_jax.models.init import param_shapes
from dreamlayer_jax.models.layer_decoder import LayerDecoder
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.weights.files.convert import from_params
from dreamlayer_jax.weights.formats.checkpoint_folder import save_pretrained
from sample.__main__ import main
from train.tokenizer import build_tokenizer

VOCABULARY = {
    "backgrounds": ["sandy beach", "green meadow"],
    "foregrounds": ["red apple", "dog", "duck", "cat"],
    "words": ["a", "apple", "beach", "cat", "dog", "duck", "green", "meadow", "red", "sandy", "the"],
}


def tiny_model() -> DreamLayerConfig:
    """16x16 pixels, 2x2 latents, 16 tokens, at most 2 foregrounds, every part of DreamLayer on."""
    return DreamLayerConfig(
        name="tiny",
        sample_size=16,
        guidance=1.5,
        unet=UNetConfig(
            block_out_channels=(8, 8), cross_attention=(True, False), layers_per_block=1, num_attention_heads=2, cross_attention_dim=8,
            norm_num_groups=4,
        ),
        vae=VAEConfig(block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, patch_size=4, mid_block_add_attention=False),
        text=TextConfig(
            vocab_size=1024, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=16
        ),
        layer_decoder=LayerDecoderConfig(block_out_channels=(4, 4, 8, 8), attention=(False,) * 4, layers_per_block=1),
        layered=LayeredConfig(max_foregrounds=2, context_block=0, context_layers=1, context_width=8),
    )  # fmt: skip


def save_tiny(config: DreamLayerConfig, base: Path) -> Path:
    """The model's folder, with random parameters and a tokenizer of `VOCABULARY`."""
    build_tokenizer(VOCABULARY["words"], base / "tokenizer", config.text.max_position_embeddings, config.text.vocab_size)
    save_pretrained(base / "model", config, random_params(config), base / "tokenizer", VOCABULARY)
    return base / "model"


def random_params(config: DreamLayerConfig) -> Params:
    """Every parameter drawn by NumPy: nothing is compiled, and nothing is zero."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: (0.3 * rng.standard_normal(leaf.shape)).astype(np.float32), param_shapes(config))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's folder, as the training program would leave it. Tests copy it before they change anything."""
    return save_tiny(tiny_model(), tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def evaluated_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One at the 64x64 pixels that the probe reads, for three foregrounds and long prompts."""
    config = tiny_model()
    config = dataclasses.replace(
        config,
        sample_size=64,
        text=dataclasses.replace(config.text, max_position_embeddings=77),
        layered=dataclasses.replace(config.layered, max_foregrounds=3),
    )
    return save_tiny(config, tmp_path_factory.mktemp("evaluated"))


@pytest.fixture(scope="session")
def layer_decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layer decoder of four blocks in LayerDiffusion's layout, half precision."""
    decoder = LayerDecoder(LayerDecoderConfig(block_out_channels=(4, 4, 8, 8), attention=(False,) * 4, layers_per_block=1))
    picture, latent = np.zeros((1, 8, 8, 3), np.float32), np.zeros((1, 1, 1, 4), np.float32)
    shapes = jax.eval_shape(decoder.init, jax.random.key(0), picture, latent)["params"]
    rng = np.random.default_rng(0)
    file = tmp_path_factory.mktemp("decoder") / "decoder.safetensors"
    params = jax.tree.map(lambda leaf: (0.3 * rng.standard_normal(leaf.shape)).astype(np.float16), shapes)
    save_file(from_params(params), file)
    return file


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command left on the terminal."""

    status: int
    out: str
    err: str


@pytest.fixture
def sample(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """`sample("generate", "--steps", 2, …)` is `python -m sample generate --steps 2 …`."""

    def run(*arguments: object) -> Outcome:
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as stopped:
            status = stopped.code
        return Outcome(status=status, **capfd.readouterr()._asdict())

    return run


@pytest.fixture
def generate(sample: Callable[..., Outcome], tiny_folder: Path) -> Callable[..., Outcome]:
    """`sample generate` with the tiny model and few steps, where the arguments say nothing else."""

    def run(
        *arguments: object, background: str | None = "a sandy beach", foregrounds: tuple[str, ...] = ("a dog",), weights: Path = tiny_folder
    ) -> Outcome:
        given = [part for prompt in foregrounds for part in ("--foreground", prompt)]
        given += [] if background is None else ["--background", background]
        steps = () if "--steps" in arguments else ("--steps", 2)
        return sample("generate", *given, "--weights", weights, *steps, *arguments)

    return run
