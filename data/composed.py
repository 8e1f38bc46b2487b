"""Scenes composed by many workers, a file each; the data set is then written from the files, the same bytes as without.

A stopped build goes on with the files that are there; a finished one removes them.
"""

from __future__ import annotations

import dataclasses
import io
import json
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from data.engine import Engine
from data.peel.result import write_files
from data.source import Example, ExampleSource
from dreamlayer_jax.files import write_json

EXAMPLE, SETTINGS_FILE = "example.json", "settings.json"
A_FOLDER = 256
"""Scenes a folder: no file system likes a million names in one."""


@dataclasses.dataclass(frozen=True)
class SceneFiles:
    """The files of the scenes of some splits; picklable."""

    sources: Mapping[str, ExampleSource]
    folder: Path

    def path(self, item: str) -> Path:
        """The file of the scene "split/index"."""
        split, index = item.split("/")
        return self.folder / split / f"{int(index) // A_FOLDER:06d}" / f"{index}.zip"

    def is_there(self, item: str) -> bool:
        """Whether it is made."""
        return self.path(item).is_file()

    def make(self, item: str) -> None:
        """Composes a scene and writes it, its pictures encoded as the data set will hold them; what is there stays."""
        from data.tfds_builder import FEATURES

        if self.is_there(item):
            return
        split, index = item.split("/")
        example = self.sources[split][int(index)]
        texts = {"prompts": example["prompts"], "names": example["names"], "boxes": example["boxes"].tolist(), "seed": int(example["seed"])}
        encode = FEATURES["global"].encode_example
        pictures = {f"{n}.png": FEATURES["rgba"].feature.encode_example(layer) for n, layer in enumerate(example["rgba"])}
        path = self.path(item)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_files(path, {EXAMPLE: json.dumps(texts).encode(), "global.png": encode(example["global"]), **pictures})


@dataclasses.dataclass(frozen=True)
class MadeScenes:
    """A split's scenes from their files, as the data set's builder takes them: pictures encoded."""

    files: SceneFiles
    split: str

    def __len__(self) -> int:
        return len(self.files.sources[self.split])

    def __getitem__(self, index: int) -> Example:
        with zipfile.ZipFile(self.files.path(f"{self.split}/{index}")) as archive:
            example = json.loads(archive.read(EXAMPLE))
            pictures = [io.BytesIO(archive.read(f"{n}.png")) for n in range(len(example["prompts"]))]
            whole = io.BytesIO(archive.read("global.png"))
        return {**example, "boxes": np.array(example["boxes"], np.int32), "rgba": pictures, "global": whole}


def made(sources: Mapping[str, ExampleSource], folder: Path, engine: Engine, settings: Mapping[str, Any]) -> dict[str, ExampleSource]:
    """The same splits, every scene made by the engine's workers and kept in `folder`.

    Raises:
        ValueError: `folder` holds scenes of other settings.
    """
    path, written = folder / SETTINGS_FILE, json.loads(json.dumps(settings, default=str))
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != written:
        raise ValueError(f"{folder} holds the scenes of a build with other settings, stopped halfway: give the same, or delete it")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, written)
    files = SceneFiles(dict(sources), folder)
    missing = [
        item for split, source in sources.items() for item in (f"{split}/{n}" for n in range(len(source))) if not files.is_there(item)
    ]
    with tqdm(total=len(missing), unit="scene", disable=not sys.stderr.isatty()) as bar:
        engine.each(files.make, missing, folder, is_done=files.is_there, on_done=bar.update)
    return {split: MadeScenes(files, split) for split in sources}
