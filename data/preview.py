"""A contact sheet of scenes: the global picture, Eq. 1 of the layers, and every layer on a checkerboard, captioned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from dreamlayer_jax.compositing import composite, from_uint8, over_checks, premultiply, to_uint8

_GAP, _LINE = 8, 18
_LEAST_LAYERS = 4  # columns that every sheet has
_INK, _PAPER = (30, 30, 30), (250, 250, 248)


def sheet(examples: Sequence[dict[str, Any]], zoom: int) -> Image.Image:
    """One row a scene. Every pixel of a scene is drawn `zoom` pixels wide."""
    side = examples[0]["global"].shape[0] * zoom
    columns = 2 + max(_LEAST_LAYERS, *(len(example["prompts"]) for example in examples))
    picture = Image.new("RGB", (columns * (side + _GAP) + _GAP, len(examples) * (side + _LINE + _GAP) + _GAP), _PAPER)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(13)
    for row, example in enumerate(examples):
        blend = to_uint8(composite(from_uint8(example["rgba"])))
        cells = [(f"seed {example['seed']}: global", example["global"]), ("layers stacked, Eq. 1", blend)]
        cells += [
            (prompt, to_uint8(over_checks(premultiply(from_uint8(layer)))))
            for prompt, layer in zip(example["prompts"], example["rgba"], strict=True)
        ]
        for column, (text, rgb) in enumerate(cells):
            x, y = _GAP + column * (side + _GAP), _GAP + row * (side + _LINE + _GAP)
            picture.paste(Image.fromarray(rgb).resize((side, side), Image.Resampling.NEAREST), (x, y))
            draw.text((x, y + side + 1), text, fill=_INK, font=font)
    return picture
