"""Draws `data/art/` anew: the 48 objects as cut-outs, from the font Noto Color Emoji. Nothing else reads the font."""

from __future__ import annotations

import io
import os
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from data.cutouts import ART, EMOJI, Cutout, art_file, cropped

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
FONT_SHA256 = "e5899ed38b8ed83e08bd3ac5de09791e9d19d288333a796de1d35ad17396f1ec"
"""Of the font that `data/art/` is drawn from: version 2.042, 29 November 2023, as Debian 12 has it."""
_STRIKE = 109  # the font's only bitmap size


def drawn_cutouts(font: Path = FONT) -> tuple[Cutout, ...]:
    """The 48 objects of `EMOJI` as the font shows them. FileNotFoundError, with the package to install, where it is missing."""
    if not font.is_file():
        raise FileNotFoundError(
            f"the colour-emoji font is not at {font}; install it (Debian, Ubuntu: apt-get install fonts-noto-color-emoji)"
        )
    face = ImageFont.truetype(str(font), _STRIKE, layout_engine=ImageFont.Layout.BASIC)

    def glyph(character: str) -> Image.Image:
        picture = Image.new("RGBA", (160, 160))
        ImageDraw.Draw(picture).text((10, 10), character, font=face, embedded_color=True)
        return picture

    return tuple(cropped(name, glyph(character)) for name, character in EMOJI.items())


def write_art(cutouts: tuple[Cutout, ...], folder: Path = ART) -> int:
    """One lossless WebP a cut-out, colours under alpha 0 kept too. Returns their size in bytes; a file is replaced whole."""
    folder.mkdir(parents=True, exist_ok=True)
    total = 0
    for cutout in cutouts:
        encoded = io.BytesIO()
        Image.fromarray(cutout.rgba).save(encoded, "WEBP", lossless=True, exact=True, quality=100, method=6)
        path = art_file(cutout.name, folder)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_bytes(encoded.getvalue())
        temporary.replace(path)
        total += len(encoded.getvalue())
    return total
