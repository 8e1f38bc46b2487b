"""Parameters from and to safetensors files of diffusers and transformers.

Loading is strict: every key must fit, and one error names all that do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import ml_dtypes  # noqa: F401  (makes numpy, and so safetensors, know bfloat16)
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError, safe_open

from dreamlayer_jax.weights.names import from_torch, key_of, modern_key, to_torch, torch_shape

Params = dict[str, Any]


class WeightsError(ValueError):
    """A weight file is missing, damaged or not of this model."""


class SafetensorsFile(Mapping[str, np.ndarray]):
    """The tensors of a memory-mapped file, each read when it is asked for, in the file's own dtype (bfloat16 by `ml_dtypes`)."""

    def __init__(self, file: str | Path) -> None:
        try:
            self._file = safe_open(file, framework="numpy")
        except FileNotFoundError:
            raise WeightsError(f"there is no weight file {file}; give the path of a .safetensors file") from None
        except SafetensorError as error:
            raise WeightsError(f"{file} is not a whole safetensors file ({error}); download or copy it again") from error
        self._keys = tuple(self._file.keys())

    def __getitem__(self, key: str) -> np.ndarray:
        if key not in self:
            raise KeyError(key)
        return self._file.get_tensor(key)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def shape(self, key: str) -> tuple[int, ...]:
        """The tensor's shape, from the header alone."""
        return tuple(self._file.get_slice(key).get_shape())


def load_safetensors(file: str | Path) -> SafetensorsFile:
    """Opens a .safetensors file without reading its tensors. Raises `WeightsError` if it is missing or damaged."""
    return SafetensorsFile(file)


def to_params(tensors: Mapping[str, np.ndarray], expected: Params, dtype: Any = np.float32) -> Params:
    """Our parameter tree from PyTorch's tensors.

    Args:
        tensors: PyTorch keys to arrays, as `load_safetensors` gives them.
        expected: the tree wanted, of anything with a `shape` (`jax.eval_shape(model.init, ...)["params"]`): only what the file is to hold.
        dtype: of the arrays returned; None keeps the file's.

    Returns:
        A tree of numpy arrays of the structure of `expected`.

    Raises:
        WeightsError: keys are missing, left over or of another shape; the message lists every one in the file's own names.
    """
    expected_flat = {key_of(path): (path, tuple(leaf.shape)) for path, leaf in flatten_dict(expected).items()}
    file_key, unused = {}, []
    for key in tensors:
        modern = modern_key(key)
        if modern in expected_flat and modern not in file_key:
            file_key[modern] = key
        elif modern is not None:
            unused.append(key)

    missing = [key for key in expected_flat if key not in file_key]
    misshaped = []
    for key, (path, shape) in expected_flat.items():
        wanted = torch_shape(path, shape)
        if key in file_key and (found := _shape(tensors, file_key[key])) != wanted:
            misshaped.append(f"{file_key[key]}: the file has {found}, the model {wanted}")
    if missing or unused or misshaped:
        raise WeightsError(_describe(missing, unused, misshaped))

    flat = {path: np.ascontiguousarray(from_torch(path, tensors[file_key[key]]), dtype) for key, (path, _) in expected_flat.items()}
    return unflatten_dict(flat)


def from_params(params: Params) -> dict[str, np.ndarray]:
    """PyTorch's keys and layouts from our tree; the inverse of `to_params`, ready for `safetensors.numpy.save_file`."""
    flat = flatten_dict(jax.device_get(params))
    return {key_of(path): np.ascontiguousarray(to_torch(path, np.asarray(leaf))) for path, leaf in flat.items()}


def _shape(tensors: Mapping[str, np.ndarray], key: str) -> tuple[int, ...]:
    return tensors.shape(key) if isinstance(tensors, SafetensorsFile) else tuple(tensors[key].shape)


def _describe(missing: list[str], unused: list[str], misshaped: list[str]) -> str:
    lines = ["the weights are not of this model; check that file and configuration belong together"]
    for title, keys in (("missing from the file", missing), ("not used by the model", unused), ("of another shape", misshaped)):
        if keys:
            lines += [f"{title} ({len(keys)}):", *(f"  {key}" for key in sorted(keys))]
    return "\n".join(lines)
