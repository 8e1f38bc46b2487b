"""The smallest whole model that has every part, with all its parameters drawn, and scenes for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from dreamlayer_jax.config import DreamLayerConfig, LayerDecoderConfig, LayeredConfig, TextConfig, UNetConfig, VAEConfig
from dreamlayer_jax.layer_axis import LayerContext
from dreamlayer_jax.models.text_encoder import CLIPTextModel
from dreamlayer_jax.models.unet import UNet2DCondition

TOKENS, WIDTH = 12, 8
EMPTY = np.array([1] + [2] * (TOKENS - 1), np.int32)  # [SOS], then [EOS] for padding


def _draw(shapes: Any, seed: int) -> Any:
    """Norm scales near 1; queries and keys large, so that attention is far from uniform."""
    rng = np.random.default_rng(seed)

    def leaf(path: Any, shape: Any) -> np.ndarray:
        names = [key.key for key in path]
        noise = rng.normal(size=shape.shape).astype(np.float32)
        if names[-1] == "scale":
            return 1 + 0.3 * noise
        if len(shape.shape) == 1:
            return 0.3 * noise
        sharp = 2.0 if any(name.startswith(("to_q", "to_k")) for name in names) else 1.0
        return sharp * noise / np.float32(np.prod(shape.shape[:-1])) ** 0.5

    return jax.tree_util.tree_map_with_path(leaf, shapes)


@pytest.fixture(scope="package")
def config() -> DreamLayerConfig:
    """4×4 latents, one attention a block; the maps are made at the finer level."""
    return DreamLayerConfig(
        name="tiny",
        sample_size=8,
        unet=UNetConfig(
            block_out_channels=(8, 16),
            cross_attention=(True, False),
            layers_per_block=1,
            num_attention_heads=2,
            cross_attention_dim=WIDTH,
            norm_num_groups=4,
            use_linear_projection=True,
        ),
        vae=VAEConfig(block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=4),
        text=TextConfig(
            vocab_size=32,
            hidden_size=WIDTH,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=TOKENS,
        ),
        layer_decoder=LayerDecoderConfig(),
        layered=LayeredConfig(context_block=0, context_layers=1, context_width=8),
    )


@pytest.fixture(scope="package")
def params(config: DreamLayerConfig) -> dict[str, Any]:
    """Every parameter drawn; the foregrounds' layer-assign embeddings are one and the same, so that only prompts tell them apart."""
    text = CLIPTextModel(config.text)
    unet = UNet2DCondition(config.unet, config.layered)
    one_layer = LayerContext(
        role=np.int32(1),
        valid=np.ones(1, bool),
        prompt=np.zeros((1, TOKENS, WIDTH), np.float32),
        own=np.ones((1, TOKENS), bool),
        span=np.ones((1, TOKENS), bool),
    )
    key, z, t = jax.random.key(0), np.zeros((1, 4, 4, 4), np.float32), np.zeros(1, np.int32)
    assign = np.random.default_rng(2).normal(size=(1 + config.layered.max_foregrounds, WIDTH)).astype(np.float32)
    assign[2:] = assign[1]
    return {
        "unet": _draw(jax.eval_shape(unet.init, key, z, t, one_layer.prompt, one_layer)["params"], 0),
        "text_encoder": _draw(jax.eval_shape(text.init, key, EMPTY[None])["params"], 1),
        "layer_assign": {"embedding": assign},
    }


@pytest.fixture(scope="package")
def empty_ids() -> np.ndarray:
    """The empty prompt."""
    return EMPTY


@pytest.fixture(scope="package")
def scene() -> Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(layers k, scenes b) to token ids (k, b, t) of one- to three-word prompts, word counts (k, b), latents (k + 1, b, 4, 4, 4)."""

    def make(k: int, b: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        words = 1 + (np.arange(k)[:, None] + np.arange(b)[None]) % 3
        position = np.arange(TOKENS)
        ids = rng.integers(3, 32, (k, b, TOKENS))
        ids[..., 0] = 1
        ids[position > words[..., None]] = 2
        return ids.astype(np.int32), words.astype(np.int32), rng.normal(size=(k + 1, b, 4, 4, 4)).astype(np.float32)

    return make
