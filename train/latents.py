"""Scenes as latents, encoded once by a frozen autoencoder: what the layered diffusion model and the layer decoder learn from.

`folder/`, by shard; what is there already is not made again:

    00012_latents_k3.npy   (n, k + 1, h, w, c) float16   the autoencoder's means × scaling_factor, background first, global last
    00012_alpha_k3.npy     (n, k - 1, h, w)    float16   the objects' alpha, averaged over each latent's pixels
    00012.json             by layer count the scenes' prompts, names, seeds and checksums, and what they were made from: written last

A scene's checksum is looked at whenever it is read: a disk that lies is found before it teaches anything.
"""

from __future__ import annotations

import bisect
import dataclasses
import hashlib
import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8
from tqdm.auto import tqdm

from dreamlayer_jax.compositing import from_uint8, mean_over_cells
from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.files import new_file, write_json
from dreamlayer_jax.prompts import tokenize
from train.autoencoder import encode_mean
from train.export import params_digest
from train.images import layer_images
from train.journal import say
from train.processes import wait_for_all
from train.scene_shards import Scene, SceneShard
from train.stage import Params


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoder:
    """The frozen parts that scenes go through: the autoencoder, and the tokenizer that says whether their prompts fit.

    config: its `vae.scaling_factor` is the one that latents are multiplied by.
    """

    config: DreamLayerConfig
    vae_params: Params
    tokenizer: Any
    batch_size: int = 16

    def key(self) -> str:
        """A digest of the autoencoder, configuration and weights."""
        return params_digest(self.vae_params, dataclasses.asdict(self.config.vae))

    def __call__(self, scenes: list[Scene]) -> tuple[np.ndarray, np.ndarray]:
        """Latents (n, k + 1, h, w, c) and alphas (n, k - 1, h, w), float16, of at most `batch_size` scenes of one k.

        Raises PromptError if the prompts of a scene are longer than the text tower takes.
        """
        rgba, global_rgb = (np.stack([scene[key] for scene in scenes]) for key in ("rgba", "global"))
        rows, text = zip(*(scene["prompts"] for scene in scenes), strict=True), self.config.text
        tokenize(self.tokenizer, list(rows), text.max_position_embeddings, self.config.layered.prompt_windows)
        latents = encode_scenes(self.config, self.vae_params, layer_images(rgba, global_rgb), self.batch_size)
        return latents.astype(np.float16), latent_alpha(rgba[:, 1:, ..., 3], self.config.vae.downscale).astype(np.float16)


def build_latents(encoder: Encoder, shards: Sequence[SceneShard], folder: Path, renew: bool = False) -> None:
    """Encodes the shards that `folder` does not hold yet; each of several processes its part.

    Raises ValueError if `folder` holds other scenes' latents, or another autoencoder's; with `renew` those are encoded anew.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = encoder.key()
    numbers = range(jax.process_index(), len(shards), jax.process_count())
    with tqdm(total=sum(shards[number].count for number in numbers), desc="latents", unit="scene", mininterval=2) as bar:
        for number in numbers:
            made_from = [key, shards[number].facts]
            found = _read_facts(folder, number)
            if found is None or found["made_from"] != made_from:
                if found is not None and not renew:
                    raise ValueError(f"{folder} holds latents of another data set, size or autoencoder: remove it or use another workdir")
                _facts_path(folder, number).unlink(missing_ok=True)  # the arrays below are about to change
                _encode_shard(encoder, shards[number].scenes(), folder, number, made_from, bar)
            else:
                bar.update(shards[number].count)
    wait_for_all("latents encoded")


def _encode_shard(encoder: Encoder, scenes: Iterable[Scene], folder: Path, number: int, made_from: Any, bar: tqdm) -> None:
    waiting: dict[int, list[Scene]] = defaultdict(list)
    arrays: dict[int, list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
    facts: dict[int, dict[str, list[Any]]] = defaultdict(lambda: {"prompts": [], "names": [], "seeds": [], "checksums": []})

    def encode(k: int) -> None:
        done, waiting[k] = waiting[k], []
        latents, alpha = encoder(done)
        arrays[k].append((latents, alpha))
        facts[k]["checksums"] += [_checksum(*scene) for scene in zip(latents, alpha, strict=True)]
        for name, key in (("prompts", "prompts"), ("names", "names"), ("seeds", "seed")):
            facts[k][name] += [scene[key] for scene in done]
        bar.update(len(done))

    for scene in scenes:
        k = len(scene["prompts"])
        waiting[k].append(scene)
        if len(waiting[k]) == encoder.batch_size:
            encode(k)
    for k in [k for k, rest in waiting.items() if rest]:
        encode(k)
    for k, parts in arrays.items():
        for name, batches in zip(("latents", "alpha"), zip(*parts, strict=True), strict=True):
            with new_file(_array_path(folder, number, name, k), overwrite=True) as path:
                np.save(path, np.concatenate(batches))
    content = {"made_from": made_from, "scenes": {str(k): lists for k, lists in sorted(facts.items())}}
    write_json(_facts_path(folder, number), {**content, "digest": _digest(content)}, indent=None)


def _facts_path(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.json"


def _array_path(folder: Path, number: int, name: str, k: int) -> Path:
    return folder / f"{number:05d}_{name}_k{k}.npy"


def _read_facts(folder: Path, number: int) -> dict[str, Any] | None:
    """What was written about a shard; None where nothing is, or what is there is damaged."""
    path = _facts_path(folder, number)
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        if tree.pop("digest") != _digest(tree):
            raise ValueError("its digest differs from what was written")
        return tree
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        say(f"{path} is damaged ({error}): its scenes are encoded again")
        return None


def _digest(tree: Any) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def _checksum(latents: np.ndarray, alpha: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(alpha), zlib.crc32(np.ascontiguousarray(latents)))


def encode_scenes(model: DreamLayerConfig, vae_params: Params, images: np.ndarray, batch_size: int) -> np.ndarray:
    """(n, l, H, W, 3) uint8 to scaled latents (n, l, h, w, c). A short batch is padded to `batch_size`, so that one program is compiled."""
    padded = np.concatenate([images, np.zeros((batch_size - len(images), *images.shape[1:]), np.uint8)])
    means = np.asarray(encode_mean(model, vae_params, padded.reshape(-1, *images.shape[2:])))
    return means.reshape(batch_size, images.shape[1], *means.shape[1:])[: len(images)] * model.vae.scaling_factor


def latent_alpha(alpha: UInt8[np.ndarray, "n l H W"], downscale: int) -> Float[np.ndarray, "n l h w"]:
    """Alpha in [0, 1], each latent's the mean over its pixels."""
    return mean_over_cells(from_uint8(alpha), *(side // downscale for side in alpha.shape[2:]))


class EncodedScenes:
    """Scenes of k layers, random access for Grain: item -> latents (k+1, h, w, c) and alpha (k-1, h, w) float16, prompts (k strings)."""

    def __init__(self, folder: Path, k: int, facts: dict[int, dict[str, Any]]) -> None:
        self.k, self._folder = k, folder
        self._shards = [(number, lists) for number, found in facts.items() if (lists := found["scenes"].get(str(k)))]
        self._ends = list(accumulate(len(lists["prompts"]) for _, lists in self._shards))
        self._arrays = [tuple(self._open(number, name) for name in ("latents", "alpha")) for number, _ in self._shards]

    def _open(self, number: int, name: str) -> np.ndarray:
        path = _array_path(self._folder, number, name, self.k)
        try:
            return np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise self._damaged(path, number, str(error)) from error

    @property
    def seeds(self) -> list[int]:
        """The scenes' own numbers, in order."""
        return [seed for _, lists in self._shards for seed in lists["seeds"]]

    @property
    def names(self) -> list[tuple[str, ...]]:
        """The layers' names, in order."""
        return [tuple(names) for _, lists in self._shards for names in lists["names"]]

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> dict[str, Any]:
        """ValueError if what is read is not what was written."""
        shard = bisect.bisect_right(self._ends, index)
        scene = index - (self._ends[shard - 1] if shard else 0)
        number, lists = self._shards[shard]
        latents, alpha = (np.array(array[scene]) for array in self._arrays[shard])
        if _checksum(latents, alpha) != lists["checksums"][scene]:
            raise self._damaged(_array_path(self._folder, number, "latents", self.k), number, f"scene {scene} is not what was written")
        return {"latents": latents, "alpha": alpha, "prompts": tuple(lists["prompts"][scene])}

    def _damaged(self, path: Path, number: int, why: str) -> ValueError:
        remedy = f"remove {_facts_path(self._folder, number).name} beside it and run the same command again, which encodes that shard anew"
        return ValueError(f"{path}, or its checksum, is damaged ({why}): {remedy}")


def open_latents(folder: Path, shards: int, counts: Sequence[int] | None = None) -> dict[int, EncodedScenes]:
    """The scenes of the first `shards` shards, by layer count: of `counts`, or of all that there are.

    Raises FileNotFoundError if a shard is missing, ValueError if no scene has one of the counts.
    """
    facts = {number: _read_facts(folder, number) for number in range(shards)}
    if not facts or None in facts.values():
        raise FileNotFoundError(f"{folder} is not complete: encode the scenes first (`python -m train --stages diffusion` begins with it)")
    present = sorted({int(k) for found in facts.values() for k in found["scenes"]})
    opened = {k: EncodedScenes(folder, k, facts) for k in present if counts is None or k in counts}
    if not opened:
        asked, there = (" or ".join(map(str, some)) for some in (counts or (), present))
        raise ValueError(f"no scene of the data set has {asked} layers (there are {there}); leave the stage out, or give other data")
    return opened
