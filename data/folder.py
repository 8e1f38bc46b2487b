"""A user's folder of layered images as a source of examples, in the schema of `data.scenes.Scene.example`.

    mine/0001/scene.json     {"layers": [{"prompt": "a sandy beach", "file": "0_background.png"},
                                         {"prompt": "a red apple", "file": "1_a_red_apple.png"}],
                              "global": "global.png", "seed": 0}
    mine/0001/0_background.png, 1_a_red_apple.png, global.png

Layers run from the background to the nearest; all pictures have one size; the background is opaque, the others are straight RGBA.
A layer may give a "name" (its canonical object) beside its prompt. Without "global" the whole picture is Eq. 1 of the layers.
`python -m sample generate` writes such folders.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from data.scenes import alpha_box
from dreamlayer_jax.compositing import composite, from_uint8, to_uint8
from dreamlayer_jax.files import SCENE_FILE
from dreamlayer_jax.picture import read_layer, read_picture
from dreamlayer_jax.scene_json import SceneJson, read_scene_json


@dataclasses.dataclass(frozen=True)
class FolderSource:
    """Random access to the scene folders, sorted by name, under `folder` (or to `folder` itself, if it is one). Picklable."""

    folder: Path
    scenes: tuple[Path, ...] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        folder = Path(self.folder)
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is not a folder")
        found = [folder] if (folder / SCENE_FILE).is_file() else sorted(path.parent for path in folder.rglob(SCENE_FILE))
        if not found:
            raise ValueError(f"{folder} holds no layered image: expected a sub-folder a scene, each with a {SCENE_FILE} and its PNG files")
        object.__setattr__(self, "scenes", tuple(found))

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The example of one scene folder. FileNotFoundError or ValueError, with the file, where something is missing or wrong."""
        scene = self.scenes[index]
        described = _described(scene)
        layers = described.layers
        rgba = np.stack(_one_size(scene, [read_layer(scene / layer.file, described.size) for layer in layers]))
        if (rgba[0, ..., 3] < 255).any():
            raise ValueError(f"{scene / layers[0].file} is the background and must be opaque, but its alpha is below 255 somewhere")
        if described.whole is not None:
            global_rgb = read_picture(scene / described.whole)
            _one_size(scene, [rgba[0], global_rgb])
        else:
            global_rgb = to_uint8(composite(from_uint8(rgba)))
        return {
            "rgba": rgba,
            "global": global_rgb,
            "prompts": tuple(layer.prompt for layer in layers),
            "names": tuple(layer.name or layer.prompt for layer in layers),
            "boxes": np.stack([alpha_box(layer[..., 3]) for layer in rgba]),
            "seed": index if described.seed is None else described.seed,
        }


def _described(scene: Path) -> SceneJson:
    described = read_scene_json(scene)
    if len(described.layers) < 2:
        raise ValueError(f"{scene / SCENE_FILE} has one layer; it needs a background and at least one foreground, far to near")
    return described


def _one_size(scene: Path, pictures: list[np.ndarray]) -> list[np.ndarray]:
    sizes = sorted({picture.shape[:2] for picture in pictures})
    if len(sizes) > 1:
        raise ValueError(f"the pictures of {scene} differ in size (height, width): {sizes}; every layer covers the whole canvas")
    return pictures
