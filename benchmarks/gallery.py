"""The gallery: twelve fixed prompt sets, one seed, no choosing.

    python -m benchmarks.gallery --out docs/gallery.png

One row a scene: the global picture, the blend of the layers (Eq. 1), their composite (Eq. 12), then the layers far to near.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import tyro
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from dreamlayer_jax.export.sheet import INK, PAPER, enlarge, on_checks
from dreamlayer_jax.layered_image import LayeredImage

PROMPTS: tuple[tuple[str, ...], ...] = (  # background, then foregrounds far to near
    ("a sandy beach", "a red apple", "a dog"),
    ("a green meadow", "a house", "a car"),
    ("a snowy field", "a snowman", "a penguin"),
    ("a starry night", "a rocket"),
    ("a desert", "a cactus", "an elephant"),
    ("a wooden room", "a chair", "a teddy bear", "a gift"),
    ("a city street", "a bus", "a cat"),
    ("an autumn forest", "a pine tree", "a fox", "a mushroom"),
    ("a mountain lake", "a sailboat", "a duck"),
    ("a theatre stage", "a drum", "a guitar"),
    ("a green meadow", "a balloon"),
    ("a wooden room", "a pizza", "a pineapple", "a vase"),
)

TILE, GAP, MARGIN, CAPTION = 160, 10, 16, 26


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gallery:
    """Generates the twelve scenes and draws them on one picture."""

    out: Path = Path("docs/gallery.png")
    weights: str = "pocket"
    """The shipped model, or the folder of another."""
    seed: int = 0
    """The same for every scene."""
    steps: int = 50
    guidance: float | None = None
    """The model's own by default."""


def draw(images: Sequence[LayeredImage]) -> Image.Image:
    """The scenes' rows under column headings."""
    columns = 3 + max(len(image.layers) for image in images)
    row = CAPTION + TILE + GAP
    sheet = Image.new("RGB", (2 * MARGIN + columns * (TILE + GAP) - GAP, 2 * MARGIN + 20 + len(images) * row), PAPER)
    brush, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    headings = ["global", "blend of the layers", "composite", "background", *(f"foreground {i}" for i in range(1, columns - 3))]
    for column, heading in enumerate(headings):
        brush.text((MARGIN + column * (TILE + GAP), MARGIN), heading, fill=INK, font=font)
    for number, image in enumerate(images):
        top = MARGIN + 20 + number * row
        prompts = " · ".join(layer.prompt for layer in image.layers)
        brush.text((MARGIN, top + 6), prompts, fill=INK, font=font)
        layers = [on_checks(layer.rgba_straight, TILE) for layer in image.layers]
        tiles = [enlarge(image.global_rgb, TILE), enlarge(image.blend, TILE), enlarge(image.composite_rgb, TILE), *layers]
        for column, tile in enumerate(tiles):
            sheet.paste(tile, (MARGIN + column * (TILE + GAP), top + CAPTION))
    return sheet


def main(arguments: Gallery) -> None:
    """Writes the picture, atomically."""
    from dreamlayer_jax.pipeline import DreamLayer

    model = DreamLayer.from_pretrained(arguments.weights)
    images = [
        model.generate(
            background=background, foregrounds=foregrounds, seed=arguments.seed, steps=arguments.steps, guidance=arguments.guidance
        )
        for background, *foregrounds in tqdm(PROMPTS, desc="scenes")
    ]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    temporary = arguments.out.with_name(f".{arguments.out.name}.partial.png")
    draw(images).save(temporary, optimize=True)
    temporary.replace(arguments.out)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main(tyro.cli(Gallery))
