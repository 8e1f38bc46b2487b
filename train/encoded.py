"""A data set of layered images as latents: encoded once by a frozen autoencoder, shard by shard, so that a second start goes on.

`folder/`, by shard:

    key.json    a digest of data set, picture size and autoencoder: a folder of others is refused
    00012.json          {"2": [[prompts of a scene], …], "3": …}: written last
    00012_latents_k3.npy, 00012_alpha_k3.npy   float16, as in `train.latents`
"""

from __future__ import annotations

import bisect
import dataclasses
import json
import os
from collections import defaultdict
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from data.crop import SquareScenes
from data.loader import scene_loader
from data.source import ExampleSource
from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.prompts import tokenize
from train.images import layer_images
from train.latents import encode_scenes, latent_alpha, latent_key
from train.stage import Params

MAX_LAYERS = 4
_THREADS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoder:
    """The frozen parts that scenes go through: the autoencoder, and the tokenizer that says whether their prompts fit."""

    config: DreamLayerConfig
    vae_params: Params
    tokenizer: Any
    size: int
    batch_size: int = 1

    def __call__(self, scenes: list[dict[str, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        """Latents (n, k + 1, h, w, c) and alphas (n, k - 1, h, w) of at most `batch_size` scenes of one k.

        Raises PromptError if the prompts of a scene are longer than the text tower takes.
        """
        rgba, global_rgb = (np.stack([scene[key] for scene in scenes]) for key in ("rgba", "global"))
        tokenize(self.tokenizer, list(zip(*(scene["prompts"] for scene in scenes), strict=True)), self.config.text.max_position_embeddings)
        latents = encode_scenes(self.config, self.vae_params, layer_images(rgba, global_rgb), self.batch_size)
        return latents.astype(np.float16), latent_alpha(rgba[:, 1:, ..., 3], self.config.vae.downscale).astype(np.float16)


def build_encoded(encoder: Encoder, source: ExampleSource, what: str, folder: Path, shard_size: int = 1024) -> None:
    """Encodes the shards of `source` that `folder` does not hold yet; `what` names the data set. ValueError if `folder` holds another's."""
    folder.mkdir(parents=True, exist_ok=True)
    key = latent_key(encoder.config, encoder.vae_params, [what, len(source), encoder.size, shard_size])
    path = folder / "key.json"
    if path.is_file() and json.loads(path.read_text()) != key:
        raise ValueError(f"{folder} holds the latents of another data set, size or autoencoder: remove it or use another workdir")
    _write(path, key)
    starts = range(0, len(source), shard_size)
    with tqdm(total=len(source), desc="latents", unit="scene", mininterval=2) as bar:
        for number, start in enumerate(starts):
            indices = range(start, min(start + shard_size, len(source)))
            if (folder / f"{number:05d}.json").is_file():
                bar.update(len(indices))
                continue
            _encode_shard(encoder, SquareScenes(source, encoder.size, indices), folder, number, bar)


def _encode_shard(encoder: Encoder, scenes: SquareScenes, folder: Path, number: int, bar: tqdm) -> None:
    waiting, encoded, prompts = defaultdict(list), defaultdict(list), defaultdict(list)

    def encode(k: int) -> None:
        encoded[k].append(encoder(waiting[k]))
        prompts[k] += [list(scene["prompts"]) for scene in waiting[k]]
        bar.update(len(waiting[k]))
        waiting[k] = []

    for batch in scene_loader(scenes, batch_size=1, max_layers=MAX_LAYERS, shuffle=False, epochs=1, threads=_THREADS):
        k = int(batch["valid"][0].sum())
        waiting[k].append(
            {"rgba": batch["rgba"][0, :k], "global": batch["global"][0], "prompts": [str(text) for text in batch["prompts"][0, :k]]}
        )
        if len(waiting[k]) == encoder.batch_size:
            encode(k)
    for k in [k for k, rest in waiting.items() if rest]:
        encode(k)
    for k, parts in encoded.items():
        for name, arrays in zip(("latents", "alpha"), zip(*parts, strict=True), strict=True):
            np.save(_array(folder, number, name, k), np.concatenate(arrays))
    _write(folder / f"{number:05d}.json", prompts)


def _array(folder: Path, number: int, name: str, k: int) -> Path:
    return folder / f"{number:05d}_{name}_k{k}.npy"


def _write(path: Path, tree: Any) -> None:
    temporary = path.with_name(path.name + ".partial")
    temporary.write_text(json.dumps(tree))
    os.replace(temporary, path)


class EncodedShards:
    """The scenes of k layers in the shards of a folder, random access for Grain, items as those of `train.latents.LatentSource`."""

    def __init__(self, folder: Path, k: int) -> None:
        self.k = k
        self._latents, self._alpha, self._prompts = [], [], []
        for facts in _shards(folder):
            prompts = json.loads(facts.read_text()).get(str(k))
            if prompts:
                number = int(facts.stem)
                self._latents.append(np.load(_array(folder, number, "latents", k), mmap_mode="r"))
                self._alpha.append(np.load(_array(folder, number, "alpha", k), mmap_mode="r"))
                self._prompts.append(prompts)
        self._ends = list(accumulate(len(prompts) for prompts in self._prompts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> dict[str, Any]:
        """latents (k+1, h, w, c) float16, alpha (k-1, h, w) float16, prompts (k strings)."""
        shard = bisect.bisect_right(self._ends, index)
        scene = index - (self._ends[shard - 1] if shard else 0)
        latents, alpha = (np.asarray(arrays[shard][scene]) for arrays in (self._latents, self._alpha))
        return {"latents": latents, "alpha": alpha, "prompts": tuple(self._prompts[shard][scene])}


def open_encoded(folder: Path, counts: tuple[int, ...]) -> dict[int, EncodedShards]:
    """Those of the layer counts that the folder's scenes have. ValueError if they have none of them."""
    opened = {k: EncodedShards(folder, k) for k in counts}
    found = {k: shards for k, shards in opened.items() if len(shards)}
    if not found:
        asked = " or ".join(map(str, counts))
        raise ValueError(f"no scene of the data set has {asked} layers; leave the stage out, or give data that has some")
    return found


def _shards(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if path.stem.isdigit())
