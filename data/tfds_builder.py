"""Scenes as a TFDS data set: `LayeredScenes` writes it (this wants TensorFlow), `StoredScenes` reads it (this does not).

The only file of the project that imports `tensorflow_datasets`. The format is ArrayRecord, so that reading is by index.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from data.source import ExampleSource


class LayeredScenes(tfds.core.GeneratorBasedBuilder):
    """Layered scenes with exact truth, in the schema of `data.scenes.Scene.example`. `sources` gives each split's examples."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "Layers, prompts, boxes and the global picture."}
    name = "layered_scenes"

    def __init__(self, *, sources: Mapping[str, ExampleSource], data_dir: str | Path) -> None:
        self._sources = dict(sources)
        super().__init__(data_dir=str(data_dir), file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description=self.__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "rgba": tfds.features.Sequence(tfds.features.Image(shape=(None, None, 4), encoding_format="png")),
                    "global": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                    "prompts": tfds.features.Sequence(tfds.features.Text()),
                    "names": tfds.features.Sequence(tfds.features.Text()),
                    "boxes": tfds.features.Tensor(shape=(None, 4), dtype=np.int32),
                    "seed": tfds.features.Scalar(dtype=np.int64),
                }
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        del dl_manager
        return {split: self._generate_examples(source) for split, source in self._sources.items()}

    def _generate_examples(self, source: ExampleSource) -> Iterator[tuple[int, dict[str, Any]]]:
        for index in range(len(source)):
            example = source[index]
            yield index, {**example, "rgba": list(example["rgba"]), "prompts": list(example["prompts"]), "names": list(example["names"])}


def build(sources: Mapping[str, ExampleSource], folder: Path) -> Path:
    """Write every split under `folder` and return the data set's own folder.

    FileExistsError where it is there already: TFDS would keep the old one without a word.
    """
    builder = LayeredScenes(sources=sources, data_dir=folder)
    if Path(builder.data_dir).exists():
        raise FileExistsError(f"{builder.data_dir} already holds a data set; choose another --out, or delete it first")
    with tempfile.TemporaryDirectory() as nothing_to_download:
        builder.download_and_prepare(download_dir=nothing_to_download)
    return Path(builder.data_dir)


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
