"""From any source of examples to batches: shuffled, endless or not, deterministic and resumable."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import grain
import numpy as np

from data.source import Example, ExampleSource


def scene_loader(
    source: ExampleSource,
    *,
    batch_size: int,
    max_layers: int = 4,
    seed: int = 0,
    shuffle: bool = True,
    epochs: int | None = None,
    threads: int = 0,
) -> grain.IterDataset:
    """Batches of `source`, as `collate` makes them. `epochs` None repeats for ever, each epoch in another order.

    Its iterator's `get_state` and `set_state` resume exactly. `threads` > 0 makes batches ahead of need, in that many threads.
    An incomplete last batch is dropped.
    """
    scenes = float("inf") if epochs is None else len(source) * epochs
    if not 1 <= batch_size <= scenes:
        raise ValueError(f"batch_size = {batch_size}, but the loader gives {scenes} scenes in all: no batch would be complete")
    dataset = grain.MapDataset.source(source).seed(seed)
    if shuffle:
        dataset = dataset.shuffle()
    dataset = dataset.repeat(epochs).batch(batch_size, drop_remainder=True, batch_fn=functools.partial(collate, max_layers=max_layers))
    return dataset.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads))


def collate(examples: Sequence[Example], max_layers: int) -> dict[str, np.ndarray]:
    """One batch, every scene padded to `max_layers` layers (l) by empty ones.

    rgba (b, l, h, w, 4) uint8, global (b, h, w, 3) uint8, boxes (b, l, 4) int32, valid (b, l) bool, seed (b,) int64,
    prompts and names (b, l) text, "" where padded. ValueError where a scene has more layers, or sizes differ.
    """
    sizes = {example["global"].shape for example in examples}
    if len(sizes) > 1:
        raise ValueError(f"a batch needs pictures of one size, got {sorted(size[:2] for size in sizes)}; resize the data set's pictures")
    counts = np.array([len(example["prompts"]) for example in examples])
    if counts.max() > max_layers:
        raise ValueError(f"a scene has {counts.max()} layers, the batch holds {max_layers}; raise max_layers or leave such scenes out")
    return {
        "rgba": np.stack([_padded(example["rgba"], max_layers) for example in examples]),
        "global": np.stack([example["global"] for example in examples]),
        "boxes": np.stack([_padded(example["boxes"], max_layers) for example in examples]),
        "valid": np.arange(max_layers)[None] < counts[:, None],
        "seed": np.array([example["seed"] for example in examples], np.int64),
        "prompts": _texts([example["prompts"] for example in examples], max_layers),
        "names": _texts([example["names"] for example in examples], max_layers),
    }


def _padded(layers: np.ndarray, max_layers: int) -> np.ndarray:
    return np.concatenate([layers, np.zeros((max_layers - len(layers), *layers.shape[1:]), layers.dtype)])


def _texts(rows: Sequence[Sequence[str]], max_layers: int) -> np.ndarray:
    return np.array([[*row, *[""] * (max_layers - len(row))] for row in rows])
