"""Latents of whole scenes, computed once: what the layered diffusion model and the layer decoder learn from.

One bucket a layer count, so that a batch has one k. `workdir/latents/`, n scenes a bucket:

    latents_k3.npy   (n, k + 1, h, w, c) float16   latent_scaled: the autoencoder's mean × scaling_factor, background first, global last
    alpha_k3.npy     (n, k - 1, h, w)    float16   the objects' alpha, averaged over each latent's pixels
    facts_k3.json    prompts and names (k strings a scene), seeds, and a key that says which scenes and autoencoder they came from
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from einops import reduce
from jaxtyping import Float, UInt8
from tqdm import tqdm

from dreamlayer_jax.config import DreamLayerConfig
from train.autoencoder import encode_mean
from train.export import params_digest
from train.images import layer_images
from train.scene_cache import CachedShard, SceneSet, open_scene_cache
from train.stage import Params


def build_latent_cache(
    model: DreamLayerConfig, vae_params: Params, scene_set: SceneSet, scenes: Path, folder: Path, batch_size: int = 16
) -> None:
    """Encodes every scene of the cache at `scenes` into `folder`; buckets that are there already, of the same set and autoencoder, stay.

    model: its `vae.scaling_factor` is the one that latents are multiplied by.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = latent_key(model, vae_params, dataclasses.asdict(scene_set))
    shards = open_scene_cache(scene_set, scenes)
    buckets = {k: [shard for shard in shards if shard.k == k] for k in sorted({shard.k for shard in shards})}
    for k, members in buckets.items():
        facts = folder / f"facts_k{k}.json"
        if not (facts.is_file() and json.loads(facts.read_text())["key"] == key):
            facts.unlink(missing_ok=True)  # the arrays below are about to change
            _encode_bucket(model, vae_params, k, members, folder, key, batch_size)


def latent_key(model: DreamLayerConfig, vae_params: Params, scenes: Any) -> str:
    """A digest of the autoencoder, configuration and weights, and of what says (in JSON's types) which scenes went through it."""
    return params_digest(vae_params, dataclasses.asdict(model.vae), scenes)


def _encode_bucket(
    model: DreamLayerConfig, vae_params: Params, k: int, shards: list[CachedShard], folder: Path, key: str, batch_size: int
) -> None:
    count = sum(len(shard.rgba) for shard in shards)
    side = shards[0].rgba.shape[2] // model.vae.downscale
    partial = {name: folder / f"{name}_k{k}.npy.partial" for name in ("latents", "alpha")}
    shapes = {"latents": (count, k + 1, side, side, model.vae.latent_channels), "alpha": (count, k - 1, side, side)}
    arrays = {name: np.lib.format.open_memmap(path, "w+", np.float16, shapes[name]) for name, path in partial.items()}
    position = 0
    with tqdm(total=count, desc=f"latents k={k}", unit="scene", mininterval=2) as bar:
        for shard in shards:
            for start in range(0, len(shard.rgba), batch_size):
                rgba, global_rgb = shard.rgba[start : start + batch_size], shard.global_rgb[start : start + batch_size]
                end = position + len(rgba)
                arrays["latents"][position:end] = encode_scenes(model, vae_params, layer_images(rgba, global_rgb), batch_size)
                arrays["alpha"][position:end] = latent_alpha(rgba[:, 1:, ..., 3], model.vae.downscale)
                bar.update(end - position)
                position = end
    for name, path in partial.items():
        arrays[name].flush()
        os.replace(path, folder / f"{name}_k{k}.npy")
    lists = {field: [item for shard in shards for item in getattr(shard, field)] for field in ("seeds", "prompts", "names")}
    temporary = folder / f"facts_k{k}.json.partial"
    temporary.write_text(json.dumps({"key": key, **lists}))
    os.replace(temporary, folder / f"facts_k{k}.json")


def encode_scenes(model: DreamLayerConfig, vae_params: Params, images: np.ndarray, batch_size: int) -> np.ndarray:
    """(n, l, H, W, 3) uint8 to scaled latents (n, l, h, w, c). A short batch is padded to `batch_size`, so that one program is compiled."""
    padded = np.concatenate([images, np.zeros((batch_size - len(images), *images.shape[1:]), np.uint8)])
    means = np.asarray(encode_mean(model, vae_params, padded.reshape(-1, *images.shape[2:])))
    return means.reshape(batch_size, images.shape[1], *means.shape[1:])[: len(images)] * model.vae.scaling_factor


def latent_alpha(alpha: UInt8[np.ndarray, "n l H W"], downscale: int) -> Float[np.ndarray, "n l h w"]:
    """Alpha in [0, 1], each latent's the mean over its pixels."""
    return reduce(alpha.astype(np.float32) / 255, "n l (h y) (w x) -> n l h w", "mean", y=downscale, x=downscale)


class EncodedScenes(Protocol):
    """Scenes of one layer count k as the diffusion stage reads them: item -> latents, alpha and prompts, as `LatentSource` gives them."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]: ...


class LatentSource:
    """One bucket, random access for Grain: item -> latents (k+1, h, w, c) float16, alpha (k-1, h, w) float16, prompts (k strings)."""

    def __init__(self, folder: Path, k: int) -> None:
        facts = folder / f"facts_k{k}.json"
        if not facts.is_file():
            raise FileNotFoundError(f"{facts} is missing: encode the scenes first (`python -m train --stages diffusion` begins with it)")
        self.k = k
        self.latents = np.load(folder / f"latents_k{k}.npy", mmap_mode="r")
        self.alpha = np.load(folder / f"alpha_k{k}.npy", mmap_mode="r")
        lists = json.loads(facts.read_text())
        self.prompts = [tuple(prompts) for prompts in lists["prompts"]]
        self.names = [tuple(names) for names in lists["names"]]
        self.seeds: list[int] = lists["seeds"]

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"latents": np.asarray(self.latents[index]), "alpha": np.asarray(self.alpha[index]), "prompts": self.prompts[index]}


def open_latents(folder: Path) -> dict[int, LatentSource]:
    """Every bucket in `folder`, by k."""
    counts = sorted(int(path.stem.removeprefix("facts_k")) for path in folder.glob("facts_k*.json"))
    if not counts:
        raise FileNotFoundError(f"no latents in {folder}: encode the scenes first (`python -m train --stages diffusion` begins with it)")
    return {k: LatentSource(folder, k) for k in counts}
