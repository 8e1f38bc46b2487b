"""A user's own pictures: cut-outs and backgrounds from folders, named by their files.

objects/red_apple.png      RGBA with transparency  ->  the object "red apple"
backgrounds/my_garden.jpg  any picture             ->  the place "my garden"
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from data.cutouts import Cutout, cropped
from data.light import Light, LightRange
from dreamlayer_jax.picture import read_layer, read_picture

_PICTURES = (".png", ".jpg", ".jpeg", ".webp")
_LARGEST = 512  # pixels: bigger cut-outs and backgrounds are reduced once, when read
_LIGHT = LightRange(strength=(0.35, 0.50), blur=(0.010, 0.022), in_view=0.0)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PicturePlace:
    """A background picture, (h, w, 3) uint8. Its ground is taken to begin at `horizon`."""

    name: str
    rgb: np.ndarray
    horizon: float = 0.55
    light: LightRange = _LIGHT

    def paint(self, size: int, light: Light, rng: np.random.Generator) -> np.ndarray:
        """A square crop over the whole shorter side, at a place drawn by `rng`, (size, size, 3) uint8."""
        del light
        h, w = self.rgb.shape[:2]
        side = min(h, w)
        top, left = rng.integers(h - side + 1), rng.integers(w - side + 1)
        crop = Image.fromarray(np.ascontiguousarray(self.rgb[top : top + side, left : left + side]))
        return np.asarray(crop.resize((size, size), Image.Resampling.LANCZOS))


def picture_cutouts(folder: Path) -> tuple[Cutout, ...]:
    """Every PNG of `folder`. ValueError, with the file, for a picture without transparency."""
    cutouts = []
    for path in _files(folder, (".png",)):
        picture = Image.fromarray(read_layer(path))
        if picture.getchannel("A").getextrema()[0] == 255:
            raise ValueError(f"{path} has no transparency: a cut-out is an RGBA PNG, its alpha 0 around the object")
        picture.thumbnail((_LARGEST, _LARGEST))
        cutouts.append(cropped(name_of(path), picture))
    return tuple(cutouts)


def picture_places(folder: Path) -> tuple[PicturePlace, ...]:
    """Every picture of `folder` as a background."""
    places = []
    for path in _files(folder, _PICTURES):
        picture = Image.fromarray(read_picture(path))
        picture.thumbnail((2 * _LARGEST, 2 * _LARGEST))
        places.append(PicturePlace(name=name_of(path), rgb=np.asarray(picture)))
    return tuple(places)


def name_of(path: Path) -> str:
    """A file's name as words, without a leading article: "A_red-apple.png" is "red apple"."""
    words = path.stem.lower().replace("_", " ").replace("-", " ").split()
    if len(words) > 1 and words[0] in ("a", "an", "the"):
        words = words[1:]
    return " ".join(words)


def _files(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; give one that holds {' or '.join(endings)} files")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in endings)
    if not found:
        raise ValueError(f"{folder} holds no picture; expected {' or '.join(endings)} files, named by what they show (red_apple.png)")
    return found
