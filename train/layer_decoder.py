"""The layer decoder stage (paper §2): alpha and colour of an object from its latent and the decoded picture of it.

    loss = |â - a| + (a + ground_weight) |ĉ - c|,   c mid-grey where a = 0

each a mean over its elements. Latents are disturbed by noise of a random size before they are decoded, so that generated latents, which are
never quite those of a real picture, come out clean too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, UInt8

from dreamlayer_jax.compositing import MID_GREY, from_uint8, over_checks, over_grey, premultiply, to_uint8
from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.models.init import init_params
from dreamlayer_jax.models.layer_decoder import LayerDecoder, rgba_straight
from dreamlayer_jax.models.vae import AutoencoderKL
from dreamlayer_jax.place import Place
from train.batches import Part, batched
from train.export import load_params
from train.images import layer_images
from train.latents import EncodedScenes, encode_scenes, open_latents
from train.optimizer import OptimizerConfig, make_optimizer
from train.scene_cache import CachedShard, SceneSet, open_scene_cache
from train.stage import Batch, Params, Stage

_HELD_OUT_SCENES = 32  # of each shard


class ForegroundSource:
    """Random access over every object of some scenes: item -> {"latent": (h, w, c) float16 scaled, "rgba": (H, W, 4) uint8}."""

    def __init__(self, scenes: dict[int, EncodedScenes], shards: Sequence[CachedShard]) -> None:
        numbered = [(some, scene, seed) for some in scenes.values() for scene, seed in enumerate(some.seeds)]
        self._items = [(some, scene, seed, layer) for some, scene, seed in numbered for layer in range(1, some.k)]
        self._shards = {int(shard.seeds[0]): shard for shard in shards}
        self._starts = np.array(sorted(self._shards))

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        some, scene, seed, layer = self._items[index]
        start = int(self._starts[np.searchsorted(self._starts, seed, side="right") - 1])
        return {"latent": some[scene]["latents"][layer], "rgba": np.asarray(self._shards[start].rgba[seed - start, layer])}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerDecoderStage(Stage):
    """Learns `params["layer_decoder"]`; `params["vae"]` is the autoencoder's export, frozen. `model` carries its scaling factor."""

    name: ClassVar[str] = "layer_decoder"
    model: DreamLayerConfig
    workdir: Path
    scenes: SceneSet
    held_out: SceneSet
    steps: int
    batch_size: int = 16
    ema_decay: float = 0.995
    noise: float = 0.2  # the largest standard deviation added, in units of the latents' own
    ground_weight: float = 0.05
    optimizer_config: OptimizerConfig = OptimizerConfig()
    place: Place = Place()

    def init(self, rng: jax.Array) -> Params:
        fresh = jax.jit(partial(init_params, self.model, networks=("layer_decoder",)))(rng)
        return {**fresh, "vae": load_params(self.workdir / "autoencoder" / "params.safetensors")["vae"]}

    def trainable(self, path: tuple[str, ...]) -> bool:
        return path[0] == "layer_decoder"

    def loss(self, params: Params, batch: Batch, rng: jax.Array, step: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        del step
        size_rng, noise_rng = jax.random.split(rng)
        latent = jnp.asarray(batch["latent"], jnp.float32)
        size = self.noise * jax.random.uniform(size_rng, (latent.shape[0], 1, 1, 1))
        predicted = decode_layer(self.model, params, latent + size * jax.random.normal(noise_rng, latent.shape))
        alpha, rgb = straight_truth(batch["rgba"])
        parts = {
            "alpha": jnp.mean(jnp.abs(predicted[..., :1] - alpha)),
            "rgb": jnp.mean((alpha + self.ground_weight) * jnp.abs(predicted[..., 1:] - rgb)),
        }
        return parts["alpha"] + parts["rgb"], parts

    def optimizer(self) -> optax.GradientTransformation:
        return make_optimizer(self.optimizer_config, self.steps)

    def dataset(self, part: Part = Part()) -> grain.IterDataset:
        shards = open_scene_cache(self.scenes, self.workdir / "scenes")
        source = ForegroundSource(open_latents(self.workdir / "latents", len(shards)), shards)
        return batched(grain.MapDataset.source(source).shuffle(seed=0).repeat(), self.batch_size, part).to_iter_dataset()

    def picture_batch(self) -> Batch:
        """Twelve held-out objects."""
        batch = self._held_out_objects()
        return {name: value[:: max(1, len(value) // 12)][:12] for name, value in batch.items()}

    def picture(self, params: Params, batch: Batch) -> np.ndarray:
        """Truth above, result below, both over a checkerboard."""
        decoded = np.asarray(_decode_uint8(self.model, params, batch["latent"]))
        rows = [
            np.concatenate([to_uint8(over_checks(premultiply(from_uint8(rgba)))) for rgba in layers], axis=1)
            for layers in (batch["rgba"], decoded)
        ]
        return np.concatenate(rows, axis=0)

    def finish(self, params: Params, folder: Path) -> None:
        """Prints alpha's mean absolute error and IoU (at one half), and PSNR over grey, on held-out objects."""
        batch = self._held_out_objects()
        size = 32
        parts = [batch["latent"][start : start + size] for start in range(0, len(batch["latent"]), size)]
        decoded = np.concatenate([np.asarray(_decode_uint8(self.model, params, part)) for part in parts]).astype(np.float32) / 255
        truth = batch["rgba"].astype(np.float32) / 255
        found, real = decoded[..., 3], truth[..., 3]
        both, either = (found > 0.5) & (real > 0.5), (found > 0.5) | (real > 0.5)
        overlap = np.mean(both.sum((1, 2)) / np.maximum(either.sum((1, 2)), 1))
        mse = np.mean((over_grey(decoded) - over_grey(truth)) ** 2, axis=(1, 2, 3))
        psnr = np.mean(-10 * np.log10(np.maximum(mse, 1e-10)))
        error = np.mean(np.abs(found - real))
        print(f"layer decoder on held-out objects: alpha MAE {error:.4f}, IoU {overlap:.4f}, over grey {psnr:.2f} dB", flush=True)

    def _held_out_objects(self) -> Batch:
        vae = load_params(self.workdir / "autoencoder" / "params.safetensors")["vae"]
        latents, rgba = [], []
        for shard in open_scene_cache(self.held_out, self.workdir / "scenes_held_out"):
            layers = shard.rgba[:_HELD_OUT_SCENES]
            scaled = encode_scenes(self.model, vae, layer_images(layers, shard.global_rgb[:_HELD_OUT_SCENES]), _HELD_OUT_SCENES)
            latents.append(scaled[:, 1:-1].reshape(-1, *scaled.shape[2:]))
            rgba.append(layers[:, 1:].reshape(-1, *layers.shape[2:]))
        return {"latent": np.concatenate(latents), "rgba": np.concatenate(rgba)}


def decode_layer(model: DreamLayerConfig, params: dict[str, Any], latent_scaled: Float[Array, "b h w c"]) -> Float[Array, "b H W 4"]:
    """The layer decoder's (alpha, r, g, b), not clipped, of a scaled latent, by way of the autoencoder's picture of it."""
    latent = latent_scaled / model.vae.scaling_factor
    picture = AutoencoderKL(model.vae).apply({"params": params["vae"]}, latent, method="decode")
    rgb_01 = jnp.clip((picture + 1) / 2, 0, 1)
    return LayerDecoder(model.layer_decoder).apply({"params": params["layer_decoder"]}, rgb_01, latent)


def straight_truth(rgba: UInt8[Array, "*b h w 4"]) -> tuple[Float[Array, "*b h w 1"], Float[Array, "*b h w 3"]]:
    """Alpha and straight colour in [0, 1]; mid-grey where nothing is."""
    rgba_01 = jnp.asarray(rgba, jnp.float32) / 255
    alpha = rgba_01[..., 3:]
    return alpha, jnp.where(alpha > 0, rgba_01[..., :3], MID_GREY)


@jax.jit(static_argnums=0)
def _decode_uint8(model: DreamLayerConfig, params: Params, latent_scaled: Float[Array, "b h w c"]) -> UInt8[Array, "b H W 4"]:
    return jnp.rint(rgba_straight(decode_layer(model, params, latent_scaled)) * 255).astype(jnp.uint8)
