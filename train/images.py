"""Single pictures out of cached scenes: what the autoencoder learns from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dreamlayer_jax.compositing import over_grey
from train.scene_cache import CachedShard


def layer_images(rgba: np.ndarray, global_rgb: np.ndarray) -> np.ndarray:
    """Layers as pictures, objects on mid-grey: rgba (..., k, H, W, 4), global_rgb (..., H, W, 3) to (..., k + 1, H, W, 3), all uint8."""
    layers = np.rint(over_grey(rgba.astype(np.float32) / 255) * 255).astype(np.uint8)
    return np.concatenate([layers, global_rgb[..., None, :, :, :]], axis=-4)


class ImageSource:
    """Random access over every picture of the shards: item -> {"rgb": (H, W, 3) uint8}."""

    def __init__(self, shards: Sequence[CachedShard]) -> None:
        self._shards = shards
        self._ends = np.cumsum([len(shard.rgba) * (shard.k + 1) for shard in shards])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        number = int(np.searchsorted(self._ends, index, side="right"))
        shard = self._shards[number]
        scene, layer = divmod(index - (int(self._ends[number - 1]) if number else 0), shard.k + 1)
        if layer == shard.k:
            return {"rgb": np.asarray(shard.global_rgb[scene])}
        rgba = shard.rgba[scene, layer].astype(np.float32) / 255
        return {"rgb": np.rint(over_grey(rgba) * 255).astype(np.uint8)}
