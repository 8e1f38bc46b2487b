"""The tensors of safetensors files, read one at a time.

A file is mapped into memory for one tensor and let go again: pages that stay mapped count as resident memory, so a file left open would
hold the whole model a second time by the end of loading.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import ml_dtypes  # noqa: F401  (makes numpy, and so safetensors, know bfloat16)
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from dreamlayer_jax.files import inside
from dreamlayer_jax.strict_json import SchemaError, read_json
from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.files.pickles import refuse_pickle

INDEX = ".safetensors.index."


MAX_SHARDS = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Index:
    """What a `.safetensors.index.json` holds, as far as it is read."""

    weight_map: dict[str, str]
    """Tensor names to the names of files beside the index."""


class TensorFiles(Mapping[str, np.ndarray]):
    """All tensors of one file or of several shards, in their own dtype (bfloat16 by `ml_dtypes`). Opening reads headers alone.

    `metadata` is what the program that wrote them noted beside the tensors.
    """

    def __init__(self, *files: str | Path) -> None:
        self._file: dict[str, str | Path] = {}
        self._shape: dict[str, tuple[int, ...]] = {}
        self.metadata: dict[str, str] = {}
        for file in files:
            refuse_pickle(file)
            if Path(file).exists() and not Path(file).is_file():  # a FIFO would be waited for
                raise WeightsError(f"{file} is no regular file; give the path of a .safetensors file")
            try:
                with safe_open(file, framework="numpy") as opened:
                    self.metadata |= opened.metadata() or {}
                    shapes = {key: tuple(opened.get_slice(key).get_shape()) for key in opened.keys()}  # noqa: SIM118  (not a mapping)
            except FileNotFoundError:
                raise WeightsError(f"there is no weight file {file}; give the path of a .safetensors file") from None
            except SafetensorError as error:
                raise WeightsError(f"{file} is not a whole safetensors file ({error}); download or copy it again") from error
            self._shape |= shapes
            self._file |= dict.fromkeys(shapes, file)

    def __getitem__(self, key: str) -> np.ndarray:
        with safe_open(self._file[key], framework="numpy") as opened:
            return opened.get_tensor(key)

    def __contains__(self, key: object) -> bool:
        return key in self._file

    def __iter__(self) -> Iterator[str]:
        return iter(self._file)

    def __len__(self) -> int:
        return len(self._file)

    def only(self, wanted: Callable[[str], bool]) -> TensorFiles:
        """The tensors whose key is `wanted`."""
        part = TensorFiles()
        part._file = {key: file for key, file in self._file.items() if wanted(key)}
        part._shape = {key: self._shape[key] for key in part._file}
        part.metadata = self.metadata
        return part

    def shape(self, key: str) -> tuple[int, ...]:
        """The tensor's shape, from the header alone."""
        return self._shape[key]


def load_safetensors(file: str | Path) -> TensorFiles:
    """Opens a .safetensors file, or the shards that a `.safetensors.index.json` names, without reading the tensors.

    Raises `WeightsError` if a file is missing, damaged or a pickle.
    """
    if INDEX not in Path(file).name:
        return TensorFiles(file)
    file = Path(file)
    try:
        names = sorted(set(read_json(file, Index, unknown="ignore").weight_map.values()))
        if len(names) > MAX_SHARDS:
            raise SchemaError(f"it names {len(names)} shards; at most {MAX_SHARDS} are read")
        shards = [inside(file.parent, name, hard_links=False) for name in names]
    except SchemaError as error:
        raise WeightsError(f"{file} is damaged ({error}); download or copy it again") from error
    except ValueError as error:
        raise WeightsError(f"{file} is not to be trusted: {error}") from error
    return TensorFiles(*shards)


def write_tensors(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> None:
    """Writes a safetensors file. Raises `OSError` where it cannot be, on a full disk too."""
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:
        raise OSError(f"{path} could not be written ({error}); is the disk full?") from error


def shape_of(tensors: Mapping[str, np.ndarray], key: str) -> tuple[int, ...]:
    """The shape of one tensor of a file or of a plain dictionary."""
    return tensors.shape(key) if isinstance(tensors, TensorFiles) else tuple(tensors[key].shape)
