"""Any vision model of transformers by path (DINOv2, ResNet, …), for features that other work uses."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dreamlayer_jax.compositing import to_uint8
from dreamlayer_jax.weights.files.errors import WeightsError
from sample.evaluate.torch_folder import PIECE, load_folder


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Vision:
    """A vision model of transformers and its processor, which resizes and crops pictures as the folder says."""

    model: Any
    processor: Any

    @property
    def title(self) -> str:
        return f"{type(self.model).__name__}'s pooled features"

    def features(self, rgb_01: Float[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n d"]:
        """The model's pooled output; where it has none, the mean over its places."""
        return np.concatenate([self._pooled(list(to_uint8(rgb_01[n : n + PIECE]))) for n in range(0, len(rgb_01), PIECE)])

    def _pooled(self, pictures: list[np.ndarray]) -> Float[np.ndarray, "n d"]:
        from PIL import Image

        out = self.model(**self.processor([Image.fromarray(picture) for picture in pictures], return_tensors="pt"))
        pooled = getattr(out, "pooler_output", None)
        if pooled is None:  # places are the second axis of tokens, the last two of maps
            last = out.last_hidden_state
            pooled = last.mean(1) if last.ndim == 3 else last.mean((2, 3))
        return np.asarray(pooled, np.float32).reshape(len(pictures), -1)


def load_vision(folder: Path) -> Vision:
    """The vision model of a folder as `save_pretrained` and the hub have it, from safetensors.

    Raises:
        WeightsError: PyTorch is missing, or the folder holds no whole model that reads pictures alone.
    """
    model, processor = load_folder(folder, "--features", "vision model", "AutoModel", "AutoImageProcessor")
    vision = Vision(model=model, processor=processor)
    try:
        vision.features(np.zeros((1, 8, 8, 3), np.float32))
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise WeightsError(
            f"the {type(vision.model).__name__} in {folder} gives no features of a picture alone ({error}); a CLIP model goes to --clip"
        ) from error
    return vision
