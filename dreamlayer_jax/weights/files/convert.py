"""Parameters from and to PyTorch's tensors of diffusers and transformers.

Loading is strict: every key must fit, and one error names all that do not, with the likely cause where it is known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from dreamlayer_jax.models.params import ParamPath, Params
from dreamlayer_jax.weights.files.causes import likely_cause
from dreamlayer_jax.weights.files.errors import mismatch
from dreamlayer_jax.weights.files.names import from_torch, key_of, modern_key, to_torch, torch_shape
from dreamlayer_jax.weights.files.tensor_files import load_safetensors, shape_of

__all__ = ["Fit", "fit", "from_params", "load_safetensors", "read", "require", "to_params"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """How the keys of a file meet the parameters that are expected of it; all names are the file's own."""

    tensors: Mapping[str, np.ndarray]
    taken: dict[ParamPath, str]
    """Our path to the file's key."""
    shapes: dict[ParamPath, tuple[int, ...]]
    """Our path to the shape that PyTorch gives the parameter."""
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    misshaped: tuple[str, ...]


def fit(
    tensors: Mapping[str, np.ndarray],
    expected: Params,
    spelled: Callable[[str], str] = lambda key: key,
    modern: Callable[[str], str | None] = modern_key,
) -> Fit:
    """Matches the keys of a file with the tree that is expected, by names and shapes alone.

    Args:
        tensors: PyTorch keys to arrays, as `load_safetensors` gives them.
        expected: the tree wanted, of anything with a `shape` (`jax.eval_shape(model.init, ...)["params"]`): only what the file is to hold.
        spelled: how this kind of file spells a diffusers key.
        modern: a file's key as `spelled` spells it, whatever release wrote it; None if it names no parameter.
    """
    shapes = {path: torch_shape(path, tuple(leaf.shape)) for path, leaf in flatten_dict(expected).items()}
    wanted = {spelled(key_of(path)): path for path in shapes}
    taken: dict[ParamPath, str] = {}
    unused, misshaped = [], []
    for key in tensors:
        name = modern(key)
        if name is None:
            continue
        path = wanted.get(name)
        if path is None or path in taken:
            unused.append(key)
            continue
        taken[path] = key
        found = shape_of(tensors, key)
        if found != shapes[path] and not (len(shapes[path]) == 2 and found == (*shapes[path], 1, 1)):  # a dense layer as 1×1 convolution
            misshaped.append(f"{key}: the file has {found}, the model {shapes[path]}")
    missing = sorted(name for name, path in wanted.items() if path not in taken)
    return Fit(
        tensors=tensors,
        taken=taken,
        shapes=shapes,
        missing=tuple(missing),
        unused=tuple(sorted(unused)),
        misshaped=tuple(sorted(misshaped)),
    )


def require(fits: Mapping[str, Fit], source: str = "the weights are") -> None:
    """Raises one `WeightsError` for everything that does not fit, with the likely cause; `fits` by the name of their file."""
    wrong = {file: one for file, one in fits.items() if one.missing or one.unused or one.misshaped}
    if not wrong:
        return
    cause = next(filter(None, (likely_cause(one.tensors) for one in wrong.values())), None)
    groups = [
        (title, keys)
        for file, one in wrong.items()
        for title, keys in (
            (f"missing from {file}", one.missing),
            (f"in {file}, not used by the model", one.unused),
            (f"in {file}, of another shape", one.misshaped),
        )
    ]
    raise mismatch(f"{source} not of this model; {cause or 'check that file and configuration belong together'}", groups, known=bool(cause))


def read(fitted: Fit, dtype: Any = np.float32, put: Callable[[np.ndarray], Any] = lambda array: array) -> Params:
    """The parameter tree, one tensor after the other: each is read, turned to our layout and `dtype` (None: the file's), and `put`."""
    flat = {}
    for path, key in fitted.taken.items():
        tensor = fitted.tensors[key].reshape(fitted.shapes[path])
        flat[path] = put(np.ascontiguousarray(from_torch(path, tensor), dtype))
    return unflatten_dict(flat)


def to_params(tensors: Mapping[str, np.ndarray], expected: Params, dtype: Any = np.float32) -> Params:
    """Our parameter tree, numpy arrays of `dtype` (None: the file's) in the structure of `expected`; arguments as in `fit`.

    Raises:
        WeightsError: keys are missing, left over or of another shape; the message lists every one in the file's own names.
    """
    fitted = fit(tensors, expected)
    require({"the file": fitted})
    return read(fitted, dtype)


def from_params(params: Params) -> dict[str, np.ndarray]:
    """PyTorch's keys and layouts from our tree; the inverse of `to_params`, ready for `safetensors.numpy.save_file`."""
    flat = flatten_dict(jax.device_get(params))
    return {key_of(path): np.ascontiguousarray(to_torch(path, np.asarray(leaf))) for path, leaf in flat.items()}
