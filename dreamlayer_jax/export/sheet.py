"""The contact sheet: a scene's layers, their composite, the global picture and the context maps, side by side with captions."""

from __future__ import annotations

import dataclasses
import textwrap
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dreamlayer_jax.compositing import from_uint8, over_checks, premultiply, to_uint8

if TYPE_CHECKING:
    from dreamlayer_jax.scene import Scene

MARGIN, GAP, CAPTION = 28, 20, 60
PAPER, INK, FAINT, FRAME = (250, 250, 248), (28, 28, 30), (120, 120, 126), (214, 214, 218)
HEAT = np.array([[0.05, 0.05, 0.12], [0.45, 0.10, 0.45], [0.95, 0.45, 0.20], [1.00, 0.95, 0.65]])  # dark to light


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tile:
    """One picture of the sheet: opaque pixels at the sheet's tile size, a heading and a line of text."""

    picture: Image.Image
    heading: str
    text: str = ""


def contact_sheet(image: Scene) -> np.ndarray:
    """The sheet as uint8 (H, W, 3): layers far to near, blend, composite, global; under each foreground its context map.

    Small pictures are enlarged smoothly to 256 pixels a side, so that a 64-pixel scene can be looked at.
    """
    side = min(max(256, *image.size), 512)
    columns = [[Tile(picture=on_checks(image.background.rgba_straight, side), heading="background", text=image.background.prompt)]]
    for i, (layer, context_map) in enumerate(zip(image.foregrounds, image.context_maps, strict=True), start=1):
        heading = f"foreground {i}" + (", nearest" if 1 < i == len(image.foregrounds) else "")
        columns.append(
            [
                Tile(picture=on_checks(layer.rgba_straight, side), heading=heading, text=layer.prompt),
                Tile(picture=heat(context_map, side), heading=f"context map {i}", text=f"where the global picture sees “{layer.prompt}”"),
            ]
        )
    columns.append([Tile(picture=enlarge(image.blend, side), heading="blend", text="the layers laid over each other")])
    if image.composite_rgb is not None:
        columns.append([Tile(picture=enlarge(image.composite_rgb, side), heading="composite", text="the layers harmonised")])
    columns.append([Tile(picture=enlarge(image.global_rgb, side), heading="global", text="the whole, as the model drew it")])
    settings = [f"{name} {value}" for name, value in image.settings.items() if isinstance(value, (int, float, str))]
    return np.asarray(lay_out(columns, title=" · ".join([image.model or "scene", f"seed {image.seed}", *settings])))


def lay_out(columns: list[list[Tile]], *, title: str) -> Image.Image:
    """Tiles in columns, top aligned, under a title."""
    wide, high = columns[0][0].picture.size
    rows = max(len(column) for column in columns)
    head = 44
    sheet = Image.new(
        "RGB",
        (2 * MARGIN + len(columns) * (wide + GAP) - GAP, 2 * MARGIN + head + rows * (high + CAPTION + GAP) - GAP),
        PAPER,
    )
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN - 4), title, fill=INK, font=ImageFont.load_default(20))
    for x, column in enumerate(columns):
        for y, tile in enumerate(column):
            left, top = MARGIN + x * (wide + GAP), MARGIN + head + y * (high + CAPTION + GAP)
            sheet.paste(tile.picture, (left, top))
            draw.rectangle((left - 1, top - 1, left + wide, top + high), outline=FRAME)
            draw.text((left, top + high + 5), tile.heading, fill=FAINT, font=ImageFont.load_default(13))
            draw_wrapped(draw, (left, top + high + 22), tile.text, width=wide, size=15)
    return sheet


def draw_wrapped(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, *, width: int, size: int, lines: int = 2) -> None:
    """Text in at most `lines` lines of `width` pixels; what does not fit ends in an ellipsis."""
    font = ImageFont.load_default(size)
    characters = max(8, int(width / (font.getlength("abcdefghij klmno") / 16)))
    draw.multiline_text(at, "\n".join(textwrap.wrap(text, characters, max_lines=lines, placeholder=" …")), fill=INK, font=font, spacing=2)


def on_checks(rgba_straight: np.ndarray, side: int) -> Image.Image:
    """A straight RGBA layer, uint8 (h, w, 4), enlarged and laid on a checkerboard that shows where it is clear."""
    premultiplied = premultiply(from_uint8(rgba_straight))
    large = np.stack([_resize(premultiplied[..., c], side) for c in range(4)], axis=-1).clip(0, 1)
    return Image.fromarray(to_uint8(over_checks(large)))


def enlarge(rgb: np.ndarray, side: int) -> Image.Image:
    """An opaque picture, uint8 (h, w, 3), at the sheet's size."""
    return Image.fromarray(rgb).resize(_fit(rgb.shape[:2], side), Image.Resampling.BICUBIC)


def heat(context_map: np.ndarray, side: int) -> Image.Image:
    """A map in [0, 1], (h, w), as dark-to-light colours, enlarged in blocks: its resolution is part of what it says."""
    blocks = _resize(context_map, side, Image.Resampling.NEAREST)
    place = blocks * (len(HEAT) - 1)
    return Image.fromarray(to_uint8(np.stack([np.interp(place, range(len(HEAT)), HEAT[:, c]) for c in range(3)], axis=-1)))


def _fit(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Width and height with the longer one `side`."""
    height, width = size
    return max(1, round(side * width / max(size))), max(1, round(side * height / max(size)))


def _resize(channel: np.ndarray, side: int, how: Image.Resampling = Image.Resampling.BICUBIC) -> np.ndarray:
    return np.asarray(Image.fromarray(channel.astype(np.float32)).resize(_fit(channel.shape, side), how))
