"""The autoencoder stage: pictures to latents and back.

    loss = |x̂ - x| + (x̂ - x)² + edge_weight |∇x̂ - ∇x| + kl_weight KL(q(z|x) ‖ N(0, 1)),   x̂ = decode(z), z ~ q(z|x), x in [-1, 1]

each a mean over its elements. The tiny KL keeps latents near one scale and blurs them a little, which makes them easier to generate.

An autoencoder with a linear path starts from the principal components of its pictures' patches and keeps them: the convolutions, which
start silent, learn what those leave. Components keep their own size, so that the L2 distance of latents stays that of pictures.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import ClassVar

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, UInt8

from dreamlayer_jax.config import DreamLayerConfig, VAEConfig
from dreamlayer_jax.models.init import init_params
from dreamlayer_jax.models.vae import AutoencoderKL, to_patches
from dreamlayer_jax.place import Place
from dreamlayer_jax.weights.formats.config_json import write_config
from train.batches import Part, batched
from train.images import ImageSource, layer_images
from train.optimizer import OptimizerConfig, make_optimizer
from train.scene_cache import SceneSet, open_scene_cache
from train.stage import Batch, Params, Stage

LINEAR = ("linear_encode", "linear_decode")
_PATCH_PICTURES = 4_000  # principal components are those of so many pictures
_FIRST_LOGVAR = -8.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Autoencoder(Stage):
    """Learns `params["vae"]` from the pictures of the scenes cached in `workdir/scenes`; looks at `workdir/scenes_held_out`."""

    name: ClassVar[str] = "autoencoder"
    model: DreamLayerConfig
    workdir: Path
    scenes: SceneSet
    held_out: SceneSet
    steps: int
    batch_size: int = 32
    ema_decay: float = 0.995
    kl_weight: float = 3e-4
    edge_weight: float = 0.5
    optimizer_config: OptimizerConfig = OptimizerConfig()
    place: Place = Place()
    draws_all: ClassVar[bool] = True

    def init(self, rng: jax.Array) -> Params:
        """Random; with a linear path, principal components and silent convolutions."""
        fresh = jax.jit(partial(init_params, self.model, networks=("vae",)))(rng)
        if not self.model.vae.linear_path:
            return fresh
        source = ImageSource(open_scene_cache(self.scenes, self.workdir / "scenes"))
        chosen = np.linspace(0, len(source) - 1, min(len(source), _PATCH_PICTURES)).astype(int)
        return {"vae": start_from_components(self.model.vae, fresh["vae"], np.stack([source[n]["rgb"] for n in chosen]))}

    def loss(self, params: Params, batch: Batch, rng: jax.Array, step: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        del step
        vae = AutoencoderKL(self.model.vae)
        weights = {"params": {name: jax.lax.stop_gradient(part) if name in LINEAR else part for name, part in params["vae"].items()}}
        rgb_pm1 = to_pm1(batch["rgb"])
        mean, logvar = vae.apply(weights, rgb_pm1, method="encode")
        latent = mean + jnp.exp(0.5 * logvar) * jax.random.normal(rng, mean.shape)
        error = vae.apply(weights, latent, method="decode") - rgb_pm1
        parts = {
            "l1": jnp.mean(jnp.abs(error)),
            "mse": jnp.mean(error**2),
            "edge": jnp.mean(jnp.abs(jnp.diff(error, axis=1))) + jnp.mean(jnp.abs(jnp.diff(error, axis=2))),
            "kl": 0.5 * jnp.mean(mean**2 + jnp.exp(logvar) - 1 - logvar),
        }
        loss = parts["l1"] + parts["mse"] + self.edge_weight * parts["edge"] + self.kl_weight * parts["kl"]
        return loss, {**parts, "psnr": psnr_of_mse(parts["mse"])}

    def optimizer(self) -> optax.GradientTransformation:
        return make_optimizer(self.optimizer_config, self.steps)

    def dataset(self, part: Part = Part()) -> grain.IterDataset:
        source = ImageSource(open_scene_cache(self.scenes, self.workdir / "scenes"))
        return batched(grain.MapDataset.source(source).shuffle(seed=0).repeat(), self.batch_size, part).to_iter_dataset()

    def picture_batch(self) -> Batch:
        """Three scenes of each shard: (n, H, W, 3) uint8."""
        shards = open_scene_cache(self.held_out, self.workdir / "scenes_held_out")
        return {"rgb": np.concatenate([layer_images(s.rgba[:3], s.global_rgb[:3]).reshape(-1, *s.rgba.shape[2:4], 3) for s in shards])[:16]}

    def picture(self, params: Params, batch: Batch) -> np.ndarray:
        """Originals above, reconstructions below."""
        rebuilt = np.asarray(self.rebuild(params["vae"], batch["rgb"]))
        rows = [np.concatenate(list(images), axis=1) for images in (batch["rgb"], rebuilt)]
        return np.concatenate(rows, axis=0)

    def rebuild(self, vae_params: Params, rgb: UInt8[np.ndarray, "b h w 3"]) -> UInt8[Array, "b h w 3"]:
        """Encoded to the mean and decoded."""
        return _rebuild(self.model, vae_params, rgb)

    def finish(self, params: Params, folder: Path) -> None:
        """Measures PSNR on held-out scenes and the latents' spread; writes `config.json` with `scaling_factor` = 1 / spread."""
        shards = open_scene_cache(self.held_out, self.workdir / "scenes_held_out")
        images = [layer_images(s.rgba[:64], s.global_rgb[:64]) for s in shards]
        by_role = {
            "background": np.concatenate([group[:, 0] for group in images]),
            "foreground": np.concatenate([group[:, 1:-1].reshape(-1, *group.shape[2:]) for group in images]),
            "global": np.concatenate([group[:, -1] for group in images]),
        }
        errors, latents = {}, []
        for role, rgb in by_role.items():
            means = np.concatenate([np.asarray(encode_mean(self.model, params["vae"], part)) for part in _parts(rgb)])
            rebuilt = np.concatenate([_rebuild(self.model, params["vae"], part) for part in _parts(rgb)])
            latents.append(means)
            mse = np.mean((rebuilt.astype(np.float32) - rgb) ** 2 / 255**2, axis=(1, 2, 3))
            errors[role] = float(np.mean(-10 * np.log10(np.maximum(mse, 1e-10))))
        pooled = np.concatenate(latents)
        spread = float(np.std(pooled))
        vae = dataclasses.replace(self.model.vae, scaling_factor=1 / spread)
        write_config(dataclasses.replace(self.model, vae=vae), folder / "config.json")
        psnr = ", ".join(f"{role} {value:.2f} dB" for role, value in errors.items())
        print(f"autoencoder on held-out scenes: {psnr}; latents mean {pooled.mean():.3f}, std {spread:.3f}", flush=True)


def start_from_components(config: VAEConfig, vae: Params, rgb: UInt8[np.ndarray, "n h w 3"]) -> Params:
    """`vae` whose linear path is the principal components of the pictures' patches, and whose convolutions add nothing yet.

    Second moments are about mid-grey, which so has the zero latent; components are orthonormal, largest first. ValueError where there are
    fewer pixels than latent channels.
    """
    pixels = config.in_channels * config.downscale**2
    if config.latent_channels > pixels:
        raise ValueError(f"{config.latent_channels} latent channels for patches of {pixels} numbers; give at most {pixels}")
    moment = np.diag(np.arange(pixels, dtype=np.float64))  # next to nothing; it gives directions that no picture has an order, too
    for part in _parts(rgb):
        patches = to_patches(2 * part.astype(np.float64) - 255, config.downscale).reshape(-1, pixels)
        moment += patches.T @ patches  # of whole numbers, so exact: the same on every machine, whatever its order of summation
    components = np.linalg.eigh(moment)[1][:, ::-1][:, : config.latent_channels]
    components = np.where(components.sum(axis=0) < 0, -components, components).astype(np.float32)
    quant, out = vae["quant_conv"], vae["decoder"]["conv_out"]
    logvar = np.repeat(np.float32([0, _FIRST_LOGVAR]), config.latent_channels)
    return vae | {
        "linear_encode": {"kernel": jnp.asarray(components)},
        "linear_decode": {"kernel": jnp.asarray(components.T)},
        "quant_conv": {"kernel": jnp.zeros_like(quant["kernel"]), "bias": jnp.asarray(logvar)},
        "decoder": vae["decoder"] | {"conv_out": jax.tree.map(jnp.zeros_like, out)},
    }


def to_pm1(rgb: UInt8[Array, "*b h w 3"]) -> Float[Array, "*b h w 3"]:
    """Bytes to [-1, 1]."""
    return jnp.asarray(rgb, jnp.float32) / 127.5 - 1


def psnr_of_mse(mse_pm1: Float[Array, ""]) -> Float[Array, ""]:
    """Peak signal-to-noise ratio in dB of a mean squared error of pictures in [-1, 1]."""
    return 10 * jnp.log10(4 / jnp.maximum(mse_pm1, 1e-10))


def _parts(rgb: np.ndarray, size: int = 64) -> list[np.ndarray]:
    return [rgb[start : start + size] for start in range(0, len(rgb), size)]


@jax.jit(static_argnums=0)
def encode_mean(model: DreamLayerConfig, vae_params: Params, rgb: UInt8[Array, "b h w 3"]) -> Float[Array, "b i j c"]:
    """Means of the latents, unscaled."""
    return AutoencoderKL(model.vae).apply({"params": vae_params}, to_pm1(rgb), method="encode")[0]


@jax.jit(static_argnums=0)
def _rebuild(model: DreamLayerConfig, vae_params: Params, rgb: UInt8[Array, "b h w 3"]) -> UInt8[Array, "b h w 3"]:
    rebuilt = AutoencoderKL(model.vae).apply({"params": vae_params}, to_pm1(rgb))[0]
    return jnp.clip(jnp.rint((rebuilt + 1) * 127.5), 0, 255).astype(jnp.uint8)
