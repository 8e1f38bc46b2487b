"""LoRA files: low-rank changes of a model's kernels, merged into them.

    W' = W + strength · (alpha / rank) · ΔW

of a dense layer or 1×1 convolution, ΔW = up @ down; of a k×k convolution (LoCon), the down convolution carries the k×k; with a third factor
(Tucker), ΔW[o, i, y, x] = Σ_ab up[o, a] mid[a, b, y, x] down[b, i]. The rank is down's rows; alpha absent or 0 is the rank.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.models.layered import base_shapes, copied
from dreamlayer_jax.models.params import ParamPath, Params
from dreamlayer_jax.weights.files.causes import likely_cause, lora_cause
from dreamlayer_jax.weights.files.errors import WeightsError, mismatch
from dreamlayer_jax.weights.files.names import from_torch, torch_shape
from dreamlayer_jax.weights.files.tensor_files import TensorFiles, load_safetensors
from dreamlayer_jax.weights.formats.lora_alpha import Alphas, read_alphas
from dreamlayer_jax.weights.formats.lora_names import Part, kernel_of, module_name, piece_of, unsupported_kind

Keys = dict[Part, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoRA:
    """A LoRA file that fits a model, opened: no tensor is read before `delta`."""

    file: Path
    tensors: TensorFiles
    changes: Mapping[ParamPath, Keys]
    """The file's keys of each kernel of the base that it changes."""
    alphas: Alphas

    def delta(self, path: ParamPath, shape: tuple[int, ...]) -> np.ndarray:
        """(alpha / rank) · ΔW of the kernel at `path`, which is `shape` here: float32, in our layout."""
        keys = self.changes[path]
        down, up = (self._read(keys[part]) for part in ("down", "up"))
        rank = len(down)
        if "mid" in keys:
            mid = self._read(keys["mid"])
            change = np.einsum("oa, abyx, bi -> oiyx", up.reshape(len(up), -1), mid, down.reshape(rank, -1), optimize=True)
        else:
            change = up.reshape(len(up), rank) @ down.reshape(rank, -1)
        alpha = float(self._read(keys["alpha"]).reshape(())) if "alpha" in keys else None
        scale = self.alphas.scale(path[0], module_name(path), rank, alpha)
        return from_torch(path, np.float32(scale) * change.reshape(torch_shape(path, shape)))

    def _read(self, key: str) -> np.ndarray:
        return self.tensors[key].astype(np.float32)


def open_lora(file: Path, config: DreamLayerConfig) -> LoRA:
    """Opens a `.safetensors` file of a LoRA for the UNet, the text tower or both; reads headers and no tensor.

    Raises `WeightsError` for a damaged file, a pickle, a file that is no LoRA (LyCORIS kinds, DoRA, …) or is for another model, and for
    every module that the model does not have, whose parts are not whole or do not fit; in the file's own names.
    """
    tensors = load_safetensors(file)
    kinds = dict.fromkeys(kind for key in tensors if (kind := unsupported_kind(key)))
    if kinds:
        raise WeightsError(f"{file} cannot be used: it is {' and '.join(kinds)}; only LoRA and LoCon are read")
    modules: dict[str, Keys] = defaultdict(dict)
    strangers, twice = [], []
    for key in tensors:
        if (piece := piece_of(key)) is None:
            strangers.append(key)
        elif piece.part in modules[piece.module]:
            twice.append(key)
        else:
            modules[piece.module][piece.part] = key
    if not modules:
        cause = lora_cause(tensors) or likely_cause(tensors) or "it has none of a LoRA's keys (lora_down and lora_up, or lora_A and lora_B)"
        raise WeightsError(f"{file} is no LoRA: {cause}")
    shapes = {path: torch_shape(path, tuple(leaf.shape)) for path, leaf in flatten_dict(base_shapes(config)).items()}
    changes: dict[ParamPath, Keys] = {}
    unknown, halves, misshaped = [], [], []
    for module, keys in modules.items():
        path = kernel_of(module, config)
        if path is None:
            unknown.append(module)
        elif path in changes:
            twice.append(module)
        else:
            changes[path] = keys
            if not {"down", "up"} <= keys.keys():
                halves.append(f"{module}: it has {', '.join(keys.values())}")
            elif wrong := _misfit(keys, tensors, shapes[path]):
                misshaped.append(f"{module}: {wrong}")
    groups = (
        ("in no grammar of LoRA files", strangers),
        ("of modules that the model does not have", unknown),
        ("twice", twice),
        ("down without up, or up without down", halves),
        ("of another shape", misshaped),
    )
    if any(keys for _, keys in groups):
        cause = lora_cause(tensors)
        raise mismatch(
            f"the LoRA {file} does not fit this model; {cause or 'check that it is one for Stable Diffusion 1.x'}",
            groups,
            known=bool(cause),
        )
    return LoRA(file=file, tensors=tensors, changes=changes, alphas=read_alphas(file, tensors.metadata))


def merge_lora(params: Params, lora: LoRA, strength: float = 1.0) -> Params:
    """`params` with the change added to every kernel that it names and to every role's copy of it, in float32.

    Every other array is shared with `params`.
    """
    flat = flatten_dict(params)
    copies = defaultdict(list)
    for path in flat:
        copies[copied(path)].append(path)
    for base in lora.changes:
        change = jnp.asarray(strength * lora.delta(base, flat[base].shape))
        for path in copies[base]:
            flat[path] = _added(flat[path], change)
    return unflatten_dict(flat)


@jax.jit
def _added(kernel: jax.Array, change: jax.Array) -> jax.Array:
    return (kernel.astype(jnp.float32) + change).astype(kernel.dtype)


def _misfit(keys: Keys, tensors: TensorFiles, kernel: tuple[int, ...]) -> str | None:
    """What does not fit where the parts of one module do not make a change of a kernel of that shape, in PyTorch's layout."""
    shapes = {part: tensors.shape(key) for part, key in keys.items()}
    down, up, mid = (_dense(shapes.get(part, ())) for part in ("down", "up", "mid"))
    outputs, inputs, *window = _dense(kernel)
    rank, inner = (down or (0,))[0], (up[1:] or (0,))[0]
    fits = (
        down == (rank, inputs) and mid == (inner, rank, *window) and len(mid) == 4
        if "mid" in keys
        else down == (rank, inputs, *window) and inner == rank
    )
    if fits and up == (outputs, inner) and rank > 0 and np.prod(shapes.get("alpha", ()), dtype=int) == 1:
        return None
    return f"the file has {', '.join(f'{part} {shape}' for part, shape in shapes.items())}, the model {kernel}"


def _dense(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A 1×1 convolution's shape as that of a dense layer."""
    return shape[:2] if shape[2:] == (1, 1) else shape
