"""The probe: a small network that says which object each pixel shows. It measures generated layers; it takes no part in making them.

Its weights, `probe.safetensors` and `probe.json`, are in `benchmarks/probe/`; `benchmarks/train_probe.py` makes them.
"""

from __future__ import annotations

import dataclasses
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from einops import rearrange
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from dreamlayer_jax.weights.errors import WeightsError

FOLDER = Path(__file__).parent / "probe"
SIDE = 64
PATCH = 4


class ProbeNet(nn.Module):
    """Pixels to logits: 16x16 tokens of 4x4 pixels, a stage at 8x8 for context, back with a skip."""

    classes: int
    fine: int = 64
    coarse: int = 96

    @nn.compact
    def __call__(self, rgb_01: Float[Array, "b h w 3"]) -> Float[Array, "b h w n"]:
        fold = partial(rearrange, pattern="b (h p) (w q) c -> b h w (p q c)")
        unfold = partial(rearrange, pattern="b h w (p q c) -> b (h p) (w q) c")
        x = nn.Dense(self.fine, name="patch")(fold(rgb_01 * 2 - 1, p=PATCH, q=PATCH))
        x = skip = self._residual(x, "fine_in")
        x = nn.Dense(self.coarse, name="down")(fold(x, p=2, q=2))
        for number in range(3):
            x = self._residual(x, f"coarse_{number}")
        x = unfold(nn.Dense(4 * self.fine, name="up")(x), p=2, q=2) + skip
        x = nn.RMSNorm(name="norm_out")(self._residual(x, "fine_out"))
        return unfold(nn.Dense(PATCH * PATCH * self.classes, name="logits")(x), p=PATCH, q=PATCH)

    def _residual(self, x: Array, name: str) -> Array:
        y = nn.Conv(x.shape[-1], (3, 3), name=f"{name}_conv1")(nn.silu(nn.RMSNorm(name=f"{name}_norm1")(x)))
        return x + nn.Conv(x.shape[-1], (3, 3), name=f"{name}_conv2")(nn.silu(nn.RMSNorm(name=f"{name}_norm2")(y)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """A trained probe. `names[i]` is class i; the class after the last is "nothing"."""

    names: tuple[str, ...]
    params: dict[str, Any]

    def probabilities(self, rgb_01: Float[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n h w c"]:
        """Class probabilities of every pixel, "nothing" last. ValueError for pictures of another size than 64x64."""
        if rgb_01.shape[1:] != (SIDE, SIDE, 3):
            raise ValueError(
                f"the probe reads pictures of shape {(SIDE, SIDE, 3)}, got {rgb_01.shape[1:]}: generate at {SIDE} pixels a side"
            )
        pieces = [_probabilities(len(self.names) + 1, self.params, rgb_01[n : n + 64]) for n in range(0, len(rgb_01), 64)]
        return np.concatenate([np.asarray(piece) for piece in pieces])


@partial(jax.jit, static_argnames=("classes",))
def _probabilities(classes: int, params: dict[str, Any], rgb_01: Array) -> Array:
    return jax.nn.softmax(ProbeNet(classes).apply({"params": params}, rgb_01))


def save_probe(probe: Probe, facts: dict[str, Any], folder: Path = FOLDER) -> None:
    """Writes `probe.safetensors` (float16) and `probe.json` (names, how it was made, its accuracy), each atomically."""
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: np.asarray(value, np.float16) for key, value in flatten_dict(probe.params, sep=".").items()}
    write_atomically(folder / "probe.safetensors", save(tensors))
    write_atomically(folder / "probe.json", (json.dumps({"names": probe.names, **facts}, indent=2) + "\n").encode())


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


def write_atomically(path: Path, content: bytes) -> None:
    """A whole file or the old one: a temporary name, then a rename."""
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_bytes(content)
    os.replace(temporary, path)
