"""Batches on their way to the devices: each process reads its rows of them, and puts them there ahead of need."""

from __future__ import annotations

import dataclasses
from typing import Any

import grain
import jax
import numpy as np
from jax.sharding import NamedSharding

_AHEAD = 2  # batches that wait on the device


@dataclasses.dataclass(frozen=True)
class Part:
    """What of every batch a process reads: the rows of part `index`, of `count` equal ones."""

    index: int = 0
    count: int = 1


def part_of_process(sharding: NamedSharding | None) -> Part:
    """Which rows of a batch of that sharding this process's devices hold; processes whose devices hold the same read the same.

    Raises ValueError where the mesh gives a process rows that no equal part is.
    """
    if sharding is None:
        return Part()
    axes = sharding.spec[0] if isinstance(sharding.spec[0], tuple) else (sharding.spec[0],)
    pieces = int(np.prod([sharding.mesh.shape[axis] for axis in axes]))
    held: dict[int, set[int]] = {}
    for device, (rows,) in sharding.devices_indices_map((pieces,)).items():
        held.setdefault(device.process_index, set()).add(rows.indices(pieces)[0])
    parts = sorted({tuple(sorted(rows)) for rows in held.values()})
    size = pieces // len(parts)
    if parts != [tuple(range(start, start + size)) for start in range(0, pieces, size)]:
        raise ValueError(f"the processes hold the pieces {parts} of every batch: the mesh must give each an equal run of them")
    return Part(parts.index(tuple(sorted(held[jax.process_index()]))), len(parts))


def batched(examples: grain.MapDataset, size: int, part: Part = Part()) -> grain.MapDataset:
    """Batches of `size`, of which the rows of `part` are read. What a batch holds, and the iterator's state, do not depend on the parts.

    Raises ValueError if the parts of a batch would not be equal.
    """
    if size < 1 or size % part.count:
        raise ValueError(f"a batch of {size} cannot be divided over {part.count} processes; give one that they divide")
    rows = examples if part.count == 1 else _Rows(examples, size, part)
    return rows.batch(size // part.count, drop_remainder=True)


class _Rows(grain.MapDataset):
    """The rows of one part of every batch, batch after batch."""

    def __init__(self, parent: grain.MapDataset, size: int, part: Part) -> None:
        super().__init__(parent)
        self._size, self._rows, self._first = size, size // part.count, part.index * (size // part.count)

    def __len__(self) -> int:
        return len(self._parent) // self._size * self._rows

    def __getitem__(self, index: int) -> Any:
        batch, row = divmod(index, self._rows)
        return self._parent[batch * self._size + self._first + row]


def prefetched(dataset: grain.IterDataset, sharding: NamedSharding | None = None) -> grain.IterDataset:
    """The same batches, put on the devices while the steps before them run. The iterator's state is that of the batch handed out."""

    def put(batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        if sharding is None:
            return jax.device_put(batch)
        try:
            return {name: jax.make_array_from_process_local_data(sharding, rows) for name, rows in batch.items()}
        except ValueError as error:
            sizes = ", ".join(f"{name} {rows.shape[0]}" for name, rows in batch.items())
            raise ValueError(f"a batch ({sizes} in this process) cannot be divided over the mesh {dict(sharding.mesh.shape)}") from error

    return grain.experimental.ThreadPrefetchIterDataset(dataset.map(put), prefetch_buffer_size=_AHEAD)
