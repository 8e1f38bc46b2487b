"""Scenes as a TFDS data set: `LayeredScenes` and `LayeredPictures` write one, `StoredScenes` reads either.

The only file of the project that imports `tensorflow_datasets`. The format is ArrayRecord, so that reading is by index.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.writer import ExampleWriter
from tensorflow_datasets.proto import tf_example_pb2

from data.source import ExampleSource

FEATURES = {
    "rgba": tfds.features.Sequence(tfds.features.Image(shape=(None, None, 4), encoding_format="png")),
    "global": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
    "prompts": tfds.features.Sequence(tfds.features.Text()),
    "names": tfds.features.Sequence(tfds.features.Text()),
    "boxes": tfds.features.Tensor(shape=(None, 4), dtype=np.int32),
    "seed": tfds.features.Scalar(dtype=np.int64),
}


class SameBytes(ExampleWriter):
    """Writes a record's features in the order of their names: protobuf's own order differs between processes."""

    def write(self, path: Any, examples: Iterable[tuple[Any, bytes]]) -> Any:
        """As `ExampleWriter.write`."""
        return super().write(path, ((key, _in_order(record)) for key, record in examples))


def _in_order(record: bytes) -> bytes:
    return tf_example_pb2.Example.FromString(record).SerializeToString(deterministic=True)


class LayeredScenes(tfds.core.GeneratorBasedBuilder):
    """Layered scenes with exact truth, in the schema of `data.scenes.Scene.example`. `sources` gives each split's examples."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "Layers, prompts, boxes and the global picture."}
    name = "layered_scenes"

    def __init__(self, *, sources: Mapping[str, ExampleSource], data_dir: str | Path) -> None:
        self._sources = dict(sources)
        super().__init__(data_dir=str(data_dir), file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(description=self.__doc__, features=tfds.features.FeaturesDict(FEATURES))

    def _example_writer(self) -> ExampleWriter:
        return SameBytes(self.info.file_format)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        del dl_manager
        return {split: self._generate_examples(source) for split, source in self._sources.items()}

    def _generate_examples(self, source: ExampleSource) -> Iterator[tuple[int, dict[str, Any]]]:
        for index in range(len(source)):
            example = source[index]
            yield index, {**example, "rgba": list(example["rgba"]), "prompts": list(example["prompts"]), "names": list(example["names"])}


Shard = Callable[[], Iterator[tuple[str, dict[str, Any]]]]
"""The examples of one shard, each with its key; their pictures may be encoded PNG files, opened."""


class LayeredPictures(tfds.core.ShardBasedBuilder):
    """Pictures taken apart into layers (`data.peel`): the features of `LayeredScenes`, and each picture's id and its report as JSON."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "Layers, prompts, boxes, the picture, its id and its report."}
    name = "layered_pictures"

    def __init__(self, *, shards: Mapping[str, Sequence[Shard]], data_dir: str | Path) -> None:
        self._shards = dict(shards)
        super().__init__(data_dir=str(data_dir), file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        texts = {"id": tfds.features.Text(), "report": tfds.features.Text()}
        return self.dataset_info_from_configs(description=self.__doc__, features=tfds.features.FeaturesDict(FEATURES | texts))

    def _example_writer(self) -> ExampleWriter:
        return SameBytes(self.info.file_format)

    def _shard_iterators_per_split(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Sequence[Shard]]:
        del dl_manager
        return self._shards


def build_pictures(shards: Mapping[str, Sequence[Shard]], folder: Path) -> Path:
    """Writes the shards of every split, none of them empty, under `folder`, and returns the data set's own folder.

    What a killed run left is removed first. FileExistsError where the data set is there already.
    """
    return _prepared(LayeredPictures(shards=shards, data_dir=folder))


def build(sources: Mapping[str, ExampleSource], folder: Path) -> Path:
    """Write every split under `folder` and return the data set's own folder.

    FileExistsError where it is there already: TFDS would keep the old one without a word.
    """
    return _prepared(LayeredScenes(sources=sources, data_dir=folder))


def require_new(folder: Path) -> None:
    """Raises `FileExistsError` if `build` would: for those who have work to do before it."""
    _require_new(Path(LayeredScenes(sources={}, data_dir=folder).data_dir))


def _require_new(folder: Path) -> None:
    if folder.exists():
        raise FileExistsError(f"{folder} already holds a data set; choose another --out, or delete it first")


def _prepared(builder: tfds.core.DatasetBuilder) -> Path:
    folder = Path(builder.data_dir)
    _require_new(folder)
    for left in folder.parent.glob(f"incomplete.*_{folder.name}"):
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory() as nothing_to_download:
        builder.download_and_prepare(download_dir=nothing_to_download)
    return folder


class StoredScenes:
    """Random access to a split of a data set that `build` wrote; `folder` is what `build` returned. No TensorFlow."""

    def __init__(self, folder: Path | str, split: str = "train") -> None:
        if not (Path(folder) / "dataset_info.json").is_file():
            raise FileNotFoundError(f"{folder} holds no data set (no dataset_info.json); give the folder that `python -m data build` named")
        builder = tfds.builder_from_directory(str(folder))
        if split not in builder.info.splits:
            raise ValueError(f"{folder} has no split {split!r}; it has {sorted(builder.info.splits)}")
        self._source = builder.as_data_source(split=split)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The example, as it was composed."""
        stored = self._source[index]
        return {
            "rgba": np.stack(list(stored["rgba"])),
            "global": stored["global"],
            "prompts": tuple(text.decode() for text in stored["prompts"]),
            "names": tuple(text.decode() for text in stored["names"]),
            "boxes": stored["boxes"],
            "seed": int(stored["seed"]),
        }
