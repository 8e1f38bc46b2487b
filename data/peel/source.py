"""What a work folder holds, as a source of examples: the accepted pictures, by id."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data.peel.result import read_outcome, read_scene_files


@dataclasses.dataclass(frozen=True)
class ResultSource:
    """Random access to the accepted results of a work folder, sorted by id. ValueError where it has none."""

    work: Path
    ids: tuple[str, ...] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        found = sorted(path.stem for path in (self.work / "results").glob("*/*.zip"))
        outcomes = ((id, read_outcome(self.work, id)) for id in found)
        object.__setattr__(self, "ids", tuple(id for id, outcome in outcomes if outcome is not None and outcome.status == "accepted"))
        if not self.ids:
            raise ValueError(f"{self.work} holds no accepted picture; report.md in it says what became of each")

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The example, in the schema of `data.scenes.Scene.example`, and its "id"."""
        scene, pictures = read_scene_files(self.work, self.ids[index])
        decoded = {name: np.asarray(Image.open(io.BytesIO(content))) for name, content in pictures.items()}
        return {
            "rgba": np.stack([decoded[layer["file"]] for layer in scene["layers"]]),
            "global": decoded[scene["global"]],
            "prompts": tuple(layer["prompt"] for layer in scene["layers"]),
            "names": tuple(layer["name"] for layer in scene["layers"]),
            "boxes": np.array(scene["boxes"], np.int32),
            "seed": scene["seed"],
            "id": self.ids[index],
        }


def is_work_folder(folder: Path) -> bool:
    """Whether `from-pictures` worked in a folder."""
    return (folder / "results").is_dir() and (folder / "settings.json").is_file()
