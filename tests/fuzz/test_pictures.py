"""Pictures of every kind that Pillow knows, damaged in every way, on both roads."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from dreamlayer_jax.picture import PictureError, read_layer, read_map, read_picture

CASES = Path(__file__).parents[1] / "cases"
MODES = {
    "PNG": ("RGB", "RGBA", "P", "L", "LA", "1", "I;16"), "JPEG": ("RGB", "L", "CMYK"), "WEBP": ("RGB", "RGBA"), "BMP": ("RGB", "P", "1"),
    "TIFF": ("RGB", "RGBA", "F", "I;16", "CMYK", "LAB"), "GIF": ("P",), "PPM": ("RGB",), "EPS": ("RGB",), "ICO": ("RGBA",),
    "TGA": ("RGB",), "PCX": ("P",), "JPEG2000": ("RGB",), "DDS": ("RGBA",), "SGI": ("RGB",),
}  # fmt: skip

WITH_MORE = ("PNG", "JPEG", "WEBP", "TIFF")
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes().replace(b"\0R\0G\0B", b"\0M\0I\0N")  # a stranger's


@pytest.fixture(scope="module")
def corpus() -> list[bytes]:
    """One picture a kind, with text, EXIF and a profile where the format holds them; and the cases that people sent."""
    pixels = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12, 4), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a beach"
    found = [path.read_bytes() for path in sorted(CASES.iterdir()) if path.stat().st_size < 5000]
    for format, mode in ((format, mode) for format, modes in MODES.items() for mode in modes):
        image = Image.fromarray(np.asarray(pixels.convert("L"), np.uint16) * 257) if mode == "I;16" else None
        image = image or (pixels if mode == "RGBA" else pixels.convert("RGB").convert(mode))
        options = [{}, *([{"exif": exif}, {"icc_profile": PROFILE}] if format in WITH_MORE else [])]
        for more in [*options, {"compression": "tiff_lzw"}] if format == "TIFF" else options:
            written = io.BytesIO()
            image.save(written, format, **more)
            found.append(written.getvalue())
    animated = io.BytesIO()
    pixels.save(animated, "PNG", save_all=True, append_images=[pixels.rotate(90)])
    return [*found, animated.getvalue()]


def test_pictures(campaign: Callable[..., None], mutate: Callable[..., bytes], corpus: list[bytes]) -> None:
    def pictures(chance: random.Random, folder: Path) -> None:
        file = folder / chance.choice(("a.png", "a.jpg", "a.eps"))
        file.write_bytes(mutate(chance.choice(corpus), chance))
        chance.choice((read_picture, read_layer, read_map))(file)

    campaign(0.55, pictures, (PictureError,))
