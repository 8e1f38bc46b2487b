"""The gallery: twelve fixed prompt sets, one seed, no choosing.

    python -m benchmarks.gallery --out docs/gallery.webp

One row a scene: the global picture, the blend of the layers (Eq. 1), their composite (Eq. 12), then the layers far to near.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import tyro
from PIL import Image
from tqdm.auto import tqdm

from dreamlayer_jax.export.sheet import enlarge
from dreamlayer_jax.files import new_file
from dreamlayer_jax.layered_image import LayeredImage
from sample.evaluate.sheet import TILE, draw_rows, layer_headings, layer_tiles

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gallery:
    """Generates the twelve scenes and draws them on one picture."""

    out: Path = Path("docs/gallery.webp")
    weights: str = "pocket"
    """The shipped model, or the folder of another."""
    seed: int = 0
    """The same for every scene."""
    steps: int = 50
    guidance: float | None = None
    """The model's own by default."""


def draw(images: Sequence[LayeredImage]) -> Image.Image:
    """The scenes' rows under column headings."""
    rows = []
    for image in images:
        whole = [enlarge(picture, TILE) for picture in (image.global_rgb, image.blend, image.composite_rgb)]
        layers = layer_tiles([layer.rgba_straight for layer in image.layers])
        rows.append((" · ".join(layer.prompt for layer in image.layers), [*whole, *layers]))
    columns = layer_headings(max(len(image.layers) for image in images))
    return draw_rows(["global", "blend of the layers", "composite", *columns], rows)


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
    with new_file(arguments.out, overwrite=True) as temporary:
        draw(images).save(temporary, format="WEBP", quality=85, method=6)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main(tyro.cli(Gallery))
