"""The probe: a small network that says which object each pixel shows. It measures generated layers; it takes no part in making them.

Its weights, `probe.safetensors` and `probe.json`, are in `probe_weights/`; `benchmarks/train_probe.py` makes them.
"""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import flax.linen as nn
import jax
import numpy as np
from einops import rearrange
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from dreamlayer_jax.files import new_file
from dreamlayer_jax.weights.files.errors import WeightsError

FOLDER = Path(__file__).parent / "probe_weights"
SIDE = 64
PIECE = 64  # pictures at a time


class ProbeNet(nn.Module):
    """Pixels to logits, a small U-Net: 2x2 pixels a token at first, then 4x4, then 8x8 for context, and back with skips."""

    classes: int
    widths: tuple[int, ...] = (32, 64, 96)

    @nn.compact
    def __call__(self, rgb_01: Float[Array, "b h w 3"]) -> Float[Array, "b h w n"]:
        fold = partial(rearrange, pattern="b (h p) (w q) c -> b h w (p q c)", p=2, q=2)
        unfold = partial(rearrange, pattern="b h w (p q c) -> b (h p) (w q) c", p=2, q=2)
        x, skips = nn.Dense(self.widths[0], name="patch")(fold(rgb_01 * 2 - 1)), []
        for number, width in enumerate(self.widths[1:]):
            x = self._residual(x, f"in_{number}")
            skips.append(x)
            x = nn.Dense(width, name=f"fold_{number}")(fold(x))
        for number in range(3):
            x = self._residual(x, f"coarse_{number}")
        self.sow("intermediates", "pooled", x.mean(axis=(1, 2)))
        for number, skip in reversed(list(enumerate(skips))):
            x = unfold(nn.Dense(4 * skip.shape[-1], name=f"unfold_{number}")(x)) + skip
            x = self._residual(x, f"out_{number}")
        return unfold(nn.Dense(4 * self.classes, name="logits")(nn.RMSNorm(name="norm_out")(x)))

    def _residual(self, x: Array, name: str) -> Array:
        y = nn.Conv(x.shape[-1], (3, 3), name=f"{name}_conv1")(nn.silu(nn.RMSNorm(name=f"{name}_norm1")(x)))
        return x + nn.Conv(x.shape[-1], (3, 3), name=f"{name}_conv2")(nn.silu(nn.RMSNorm(name=f"{name}_norm2")(y)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """A trained probe. `names[i]` is class i; the class after the last is "nothing"."""

    title: ClassVar[str] = "the probe's coarse features, a mean over the picture"

    names: tuple[str, ...]
    params: dict[str, Any]

    def probabilities(self, rgb_01: Float[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n h w c"]:
        """Class probabilities of every pixel, "nothing" last. ValueError for pictures of another size than 64x64."""
        return self._read(rgb_01)[0]

    def features(self, rgb_01: Float[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n d"]:
        """What the coarse stage sees, a mean over its 8x8 places: features for a Fréchet distance. ValueError as above."""
        return self._read(rgb_01)[1]

    def _read(self, rgb_01: Float[np.ndarray, "n h w 3"]) -> tuple[np.ndarray, np.ndarray]:
        if rgb_01.shape[1:] != (SIDE, SIDE, 3):
            raise ValueError(
                f"the probe reads pictures of shape {(SIDE, SIDE, 3)}, got {rgb_01.shape[1:]}: generate at {SIDE} pixels a side"
            )
        # Filled up to whole eights, so that only a few sizes are ever compiled.
        filled = np.pad(rgb_01, ((0, -len(rgb_01) % 8), (0, 0), (0, 0), (0, 0)))
        pieces = [_read(len(self.names) + 1, self.params, filled[n : n + PIECE]) for n in range(0, len(filled), PIECE)]
        probabilities, features = (np.concatenate(parts)[: len(rgb_01)] for parts in zip(*pieces, strict=True))
        return probabilities, features


@partial(jax.jit, static_argnames=("classes",))
def _read(classes: int, params: dict[str, Any], rgb_01: Array) -> tuple[Array, Array]:
    logits, seen = ProbeNet(classes).apply({"params": params}, rgb_01, mutable=["intermediates"])
    return jax.nn.softmax(logits), seen["intermediates"]["pooled"][0]


def save_probe(probe: Probe, facts: dict[str, Any], folder: Path = FOLDER) -> None:
    """Writes `probe.safetensors` (float16) and `probe.json` (names, how it was made, its accuracy), each atomically."""
    from safetensors.numpy import save

    tensors = {key: np.asarray(value, np.float16) for key, value in flatten_dict(probe.params, sep=".").items()}
    description = json.dumps({"names": probe.names, **facts}, indent=2) + "\n"
    for name, content in (("probe.safetensors", save(tensors)), ("probe.json", description.encode())):
        with new_file(folder / name, overwrite=True) as temporary:
            temporary.write_bytes(content)


def load_probe(folder: Path = FOLDER) -> Probe:
    """The probe of a folder. Raises `WeightsError` if it is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        names = tuple(json.loads((folder / "probe.json").read_text())["names"])
        tensors = load_file(folder / "probe.safetensors")
    except FileNotFoundError as error:
        raise WeightsError(f"there is no probe at {error.filename}: `python -m benchmarks.train_probe train` makes one") from None
    except (SafetensorError, ValueError, KeyError) as error:
        raise WeightsError(f"the probe in {folder} is damaged ({error}): restore it, or train another") from error
    return Probe(names=names, params=unflatten_dict({key: value.astype(np.float32) for key, value in tensors.items()}, sep="."))
