"""Strict settings for every test: four virtual CPU devices, no silent rank promotion, the same hypothesis examples each run."""

from __future__ import annotations

import atexit
import dataclasses
import gc
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before jax is first imported: tests of pmap and shard_map need several devices, and figures must not depend on the machine's GPU.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Shapes are small and compiling is most of the time, so XLA leaves its optimisations out, and makes each fused loop the plain way, not
# through MLIR, which takes more than twice as long; `make test-optimized` leaves both as users have them.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=4",
        *([] if os.environ.get("DREAMLAYER_OPTIMIZED") else ["--xla_backend_optimization_level=0", "--xla_cpu_use_fusion_emitters=false"]),
    ]
).strip()

# Each program is compiled once a run: the first process makes a cache, which workers and commands under test inherit. It has no largest
# size: JAX would list the whole cache, locked, for each new entry.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    compiled = tempfile.mkdtemp(prefix="dreamlayer-compiled-")
    atexit.register(shutil.rmtree, compiled, ignore_errors=True)
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": compiled,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }

import hypothesis
import jax
import jaxtyping
import pytest

# Shapes and types in the signatures of these rooms are checked at every call. Not in constructors: a pytree holds anything while JAX
# maps over it, and settings and plans check what they are given themselves. Not in weights: a mapping's check looks at one of its values,
# which would read a tensor where headers are to do.
CHECKED = (
    *("attention", "canvas", "compositing", "diffusion", "editing", "export", "layer_axis", "models"),
    *("picture", "planner", "prompts", "strict_json"),
)
jaxtyping.install_import_hook(
    [f"dreamlayer_jax.{room}" for room in CHECKED],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True,"
    " strategy=beartype.BeartypeStrategy.O0 if x.__name__ == '__init__' else beartype.BeartypeStrategy.O1))",
)

jax.config.update("jax_numpy_rank_promotion", "raise")

gc.set_threshold(100_000)  # as sampling does: tracing makes millions of small objects that live on

hypothesis.settings.register_profile("project", deadline=None, max_examples=25, derandomize=True)
hypothesis.settings.load_profile("project")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Training's tests are few and long: first, so that no worker is left alone with them at the end."""
    items.sort(key=lambda item: "train" not in item.path.parts)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlainModel:
    """A Stable Diffusion model: its configuration and parameters, and its diffusers folder. Tests copy the folder before they change it."""

    config: Any
    params: dict[str, Any]
    folder: Path


@pytest.fixture(scope="session")
def plain_model(tmp_path_factory: pytest.TempPathFactory) -> PlainModel:
    """Stable Diffusion in small and odd: 16x16 pixels, 2x2 latents, 16 tokens. Nothing is compiled, and no parameter is zero."""
    import numpy as np
    from transformers import CLIPTokenizer

    from dreamlayer_jax.config import DreamLayerConfig, LayerDecoderConfig, LayeredConfig, TextConfig, UNetConfig, VAEConfig
    from dreamlayer_jax.models.layered import base_shapes
    from dreamlayer_jax.weights.formats.diffusers_folder import export_diffusers
    from train.tokenizer import build_tokenizer

    config = DreamLayerConfig(
        name="model",
        sample_size=16,
        unet=UNetConfig(
            block_out_channels=(12, 20), cross_attention=(True, False), layers_per_block=1, num_attention_heads=2, cross_attention_dim=12,
            norm_num_groups=4,
        ),
        vae=VAEConfig(block_out_channels=(4, 8, 6, 8), layers_per_block=1, norm_num_groups=2),
        text=TextConfig(
            vocab_size=1024, hidden_size=12, intermediate_size=20, num_hidden_layers=2, num_attention_heads=3, max_position_embeddings=16
        ),
        layer_decoder=LayerDecoderConfig(),
        layered=LayeredConfig(context_block=0),
    )  # fmt: skip
    rng = np.random.default_rng(0)

    def draw(path: tuple[jax.tree_util.DictKey, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        noise = rng.standard_normal(leaf.shape, np.float32)
        if leaf.ndim > 1:
            return noise / np.float32(np.prod(leaf.shape[:-1])) ** 0.5
        return np.float32(0.3) * noise + np.float32(path[-1].key == "scale")

    params = jax.tree_util.tree_map_with_path(draw, base_shapes(config))
    base = tmp_path_factory.mktemp("plain")
    build_tokenizer(["a", "sandy", "beach", "red", "dog"], base / "tokenizer", 16, config.text.vocab_size)
    export_diffusers(base / "model", config, params, CLIPTokenizer.from_pretrained(base / "tokenizer"))
    return PlainModel(config=config, params=params, folder=base / "model")


@pytest.fixture(scope="session")
def inpainting_model(plain_model, tmp_path_factory: pytest.TempPathFactory) -> PlainModel:
    """The plain model with the inputs of an inpainting model: latent, hole and the picture around it."""
    import numpy as np
    from transformers import CLIPTokenizer

    from dreamlayer_jax.weights.formats.diffusers_folder import export_diffusers

    config = dataclasses.replace(plain_model.config, unet=dataclasses.replace(plain_model.config.unet, in_channels=9))
    kernel = plain_model.params["unet"]["conv_in"]["kernel"]
    wider = np.random.default_rng(9).standard_normal((*kernel.shape[:2], 9, kernel.shape[-1]), np.float32) / np.float32(9)
    params = plain_model.params | {
        "unet": plain_model.params["unet"] | {"conv_in": plain_model.params["unet"]["conv_in"] | {"kernel": wider}}
    }
    folder = tmp_path_factory.mktemp("inpainting") / "model"
    export_diffusers(folder, config, params, CLIPTokenizer.from_pretrained(plain_model.folder / "tokenizer"))
    return PlainModel(config=config, params=params, folder=folder)


@pytest.fixture(scope="session")
def layer_attention_file() -> Callable[..., dict[str, Any]]:
    """Random tensors as LayerDiffusion's file of a kind names them, for a UNet of any size. None is zero or one."""
    import numpy as np

    def draw(unet: Any, kind: str, rank: int = 3, widths: tuple[int, ...] = (4, 6, 8, 10), dtype: Any = np.float32, seed: int = 0) -> Any:
        rng = np.random.default_rng(seed)
        tensors: dict[str, Any] = {}

        def put(name: str, shape: tuple[int, ...], scale: float) -> None:
            tensors[name] = (scale * rng.standard_normal(shape)).astype(dtype)

        def dense(name: str, *shape: int) -> None:
            put(f"{name}.weight", shape, np.prod(shape[1:]) ** -0.5)
            put(f"{name}.bias", shape[:1], 0.3)

        down = [c for c, cross in zip(unet.block_out_channels, unet.cross_attention, strict=True) if cross]
        blocks = [c for c in down for _ in range(unet.layers_per_block)]
        blocks += [c for c in reversed(down) for _ in range(unet.layers_per_block + 1)] + [unet.block_out_channels[-1]]
        frames, control = {"transparent_attn": (1, False), "joint": (3, False), "fg2bg": (2, True), "bg2fg": (2, True)}[kind]
        for i, (c, source) in enumerate((own, source) for own in blocks for source in (own, unet.cross_attention_dim)):
            layer = f"hookers.layers.{i}"
            for f in range(frames):
                for x, wide in (("q", c), ("k", source), ("v", source), ("out", c)):
                    put(f"{layer}.to_{x}_lora.{f}.down.weight", (rank, wide), wide**-0.5)
                    put(f"{layer}.to_{x}_lora.{f}.up.weight", (c, rank), rank**-0.5)
                if control:
                    dense(f"{layer}.control_convs.{f}.0", widths[-1], widths[-1], 3, 3)
                    dense(f"{layer}.control_convs.{f}.2", c, widths[-1], 1, 1)
            for x in "iqkvo":
                dense(f"{layer}.temporal_{x}", c, c)
            put(f"{layer}.temporal_n.weight", (c,), 0.3)
            tensors[f"{layer}.temporal_n.weight"] += 1
            put(f"{layer}.temporal_n.bias", (c,), 0.3)
        if control:
            rows = [[w for w in widths for _ in range(2)]] + [[widths[-1]] * 2] * (len(unet.block_out_channels) - 1)
            wide = 3
            for j, row in enumerate(rows):
                for n, width in enumerate(row):
                    dense(f"kwargs_encoder.blocks_{j}.{2 * n}", width, wide, 3, 3)
                    wide = width
        return tensors

    return draw


@pytest.fixture(scope="session")
def few_step_lora() -> Callable[..., dict[str, tuple[int, ...]]]:
    """Keys and shapes of the distilled LoRAs (LCM, TCD, Hyper-SD), in kohya's names, for a model of any size."""
    from flax.traverse_util import flatten_dict

    from dreamlayer_jax.models.layered import base_shapes
    from dreamlayer_jax.weights.files.names import key_of, torch_shape

    def shapes(config: Any, rank: int = 1) -> dict[str, tuple[int, ...]]:
        made: dict[str, tuple[int, ...]] = {}
        for path, leaf in flatten_dict(base_shapes(config)["unet"]).items():
            name = key_of(path).removesuffix(".weight")
            if path[-1] == "kernel" and not name.startswith(("conv_in", "conv_out", "time_embedding")):
                outputs, inputs, *window = torch_shape(path, tuple(leaf.shape))
                module = "lora_unet_" + name.replace(".", "_")
                made[f"{module}.lora_down.weight"] = (rank, inputs, *window)
                made[f"{module}.lora_up.weight"] = (outputs, rank, *(1 for _ in window))
                made[f"{module}.alpha"] = ()
        return made

    return shapes
