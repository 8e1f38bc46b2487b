"""CLIP by path, for features and scores that other work can be compared with. transformers runs it, on PyTorch, if that is installed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from dreamlayer_jax.compositing import to_uint8
from sample.evaluate.torch_folder import PIECE, load_folder


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """transformers' `CLIPModel` and `CLIPProcessor`, which resizes and crops pictures as the folder says."""

    title: ClassVar[str] = "CLIP's projected picture embeddings"

    model: Any
    processor: Any

    def features(self, rgb_01: Float[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n d"]:
        """Picture embeddings after CLIP's projection, of any length."""
        pieces = [list(to_uint8(rgb_01[n : n + PIECE])) for n in range(0, len(rgb_01), PIECE)]
        return _rows([self.model.get_image_features(**self.processor(images=piece, return_tensors="pt")) for piece in pieces])

    def text_features(self, prompts: Sequence[str]) -> Float[np.ndarray, "n d"]:
        """Prompt embeddings in the same space; longer prompts than the model reads are cut."""
        options = {"return_tensors": "pt", "padding": True, "truncation": True}
        pieces = [list(prompts[n : n + PIECE]) for n in range(0, len(prompts), PIECE)]
        return _rows([self.model.get_text_features(**self.processor(text=piece, **options)) for piece in pieces])


def load_clip(folder: Path) -> Clip:
    """The CLIP model of a folder as `CLIPModel.save_pretrained` and the hub have it, from safetensors.

    Raises:
        WeightsError: PyTorch is missing, or the folder holds no whole CLIP model with its processor.
    """
    model, processor = load_folder(folder, "--clip", "CLIP model", "CLIPModel", "CLIPProcessor")
    return Clip(model=model, processor=processor)


def _rows(pieces: Sequence[Any]) -> Float[np.ndarray, "n d"]:
    """transformers gives a tensor, or since release 5 an output that has it."""
    return np.concatenate([np.asarray(getattr(piece, "pooler_output", piece), np.float32) for piece in pieces])
