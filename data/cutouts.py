"""Cut-outs: named pictures with straight alpha, cropped to what they show."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

ART = Path(__file__).parent / "art"

EMOJI = {
    "dog": "🐕", "cat": "🐱", "fox": "🦊", "panda": "🐼", "lion": "🦁", "pig": "🐖", "elephant": "🐘", "frog": "🐸",
    "turtle": "🐢", "penguin": "🐧", "duck": "🦆", "owl": "🦉", "fish": "🐠", "teddy bear": "🧸", "robot": "🤖", "snowman": "⛄",
    "car": "🚗", "bus": "🚌", "tractor": "🚜", "rocket": "🚀", "sailboat": "⛵", "house": "🏠", "chair": "🪑", "vase": "🏺",
    "umbrella": "☂", "guitar": "🎸", "drum": "🥁", "alarm clock": "⏰", "gift": "🎁", "crown": "👑", "backpack": "🎒", "boot": "🥾",
    "top hat": "🎩", "bucket": "🪣", "football": "⚽", "basketball": "🏀", "balloon": "🎈", "red apple": "🍎", "strawberry": "🍓",
    "pineapple": "🍍", "watermelon": "🍉", "pizza": "🍕", "burger": "🍔", "cupcake": "🧁", "mushroom": "🍄", "pine tree": "🌲",
    "cactus": "🌵", "pumpkin": "🎃",
}  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class Cutout:
    """A named object. `rgba`: (h, w, 4) uint8 straight alpha, cropped to its alpha; it stands on its lowest row."""

    name: str
    rgba: np.ndarray

    @property
    def extent(self) -> tuple[float, float]:
        """(height, width), the longer being 1."""
        h, w = self.rgba.shape[:2]
        return h / max(h, w), w / max(h, w)

    @functools.cached_property
    def coarse(self) -> np.ndarray:
        """(16, 16) bool: where the object is, its box stretched to a square; for measuring occlusion."""
        alpha = Image.fromarray(np.ascontiguousarray(self.rgba[..., 3]))
        return np.asarray(alpha.resize((16, 16), Image.Resampling.BOX)) > 127

    @functools.cached_property
    def halvings(self) -> tuple[Image.Image, ...]:
        """The picture at full size, half, quarter ...: small renderings start from a small one."""
        levels = [Image.fromarray(self.rgba)]
        while min(levels[-1].size) >= 32:
            width, height = levels[-1].size
            levels.append(levels[-1].resize((width // 2, height // 2), Image.Resampling.BOX))
        return tuple(levels)

    def at(self, height: int, width: int, mirrored: bool) -> Image.Image:
        """The object resized to `height` x `width` pixels, "RGBA"."""
        start = next((level for level in reversed(self.halvings) if level.size[1] >= 1.6 * height), self.halvings[0])
        picture = start.resize((width, height), Image.Resampling.BICUBIC)
        return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else picture


def cropped(name: str, picture: Image.Image) -> Cutout:
    """A cut-out from an "RGBA" picture. ValueError where nothing is opaque."""
    rgba = np.array(picture.convert("RGBA"))
    solid = rgba[..., 3] > 8
    if not solid.any():
        raise ValueError(f"the picture of {name!r} is empty: its alpha is nowhere above 8/255; give a cut-out with transparency around it")
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    return Cutout(name, np.ascontiguousarray(rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]))


def emoji_cutouts(folder: Path = ART) -> tuple[Cutout, ...]:
    """The 48 objects of `EMOJI`, as `data/render_art.py` drew them from Noto Color Emoji.

    FileNotFoundError or ValueError, with the file and what brings it back, where one is missing or damaged.
    """
    return tuple(_read(art_file(name, folder), name) for name in EMOJI)


def art_file(name: str, folder: Path = ART) -> Path:
    """Where the picture of an object lies: lossless WebP, straight alpha, cropped to its alpha."""
    return folder / f"{name.replace(' ', '_')}.webp"


def _read(path: Path, name: str) -> Cutout:
    mend = "restore the folder (git checkout -- data/art), or draw it anew (python -m data render-art)"
    try:
        with Image.open(path, formats=["WEBP"]) as picture:
            return Cutout(name, np.array(picture.convert("RGBA")))
    except FileNotFoundError:
        raise FileNotFoundError(f"the picture of {name!r} is missing: {path}; {mend}") from None
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"the picture of {name!r} is damaged: {path} ({error}); {mend}") from error
