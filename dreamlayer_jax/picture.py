"""Reading a person's picture: any size, 8 or 16 bits, turned as its EXIF says; clear refusals."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 100_000_000


class PictureError(ValueError):
    """A file that is no picture, or one that cannot be used."""


def read_picture(file: str | Path, background_rgb: tuple[int, int, int] = (255, 255, 255)) -> UInt8[np.ndarray, "h w 3"]:
    """A picture file as RGB, upright. Transparent pixels are laid over `background_rgb`.

    Raises:
        PictureError: there is no such file, it is no picture that Pillow reads, it is cut short, or it has over 100 million pixels.
    """
    return _read(file, lambda image: _rgb(image, background_rgb))


def read_layer(file: str | Path) -> UInt8[np.ndarray, "h w 4"]:
    """A layer's file as straight RGBA, upright; opaque if it has no alpha. Raises `PictureError` as `read_picture` does."""
    return _read(file, lambda image: np.asarray(image.convert("RGBA")))


def _read(file: str | Path, convert: Callable[[Image.Image], np.ndarray]) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is lower
            image = Image.open(file)
        with image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise PictureError(f"{file} has {width}x{height} pixels; at most {MAX_PIXELS // 10**6} million are read: make it smaller")
            return convert(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise PictureError(f"there is no picture {file}") from None
    except IsADirectoryError:
        raise PictureError(f"{file} is a folder; give one picture file") from None
    except UnidentifiedImageError:
        raise PictureError(f"{file} is no picture of a known format; give a PNG, JPEG, WebP, TIFF or BMP file") from None
    except Image.DecompressionBombError:
        raise PictureError(f"{file} says that it has too many pixels to read; at most {MAX_PIXELS // 10**6} million") from None
    except (OSError, SyntaxError) as error:
        raise PictureError(f"{file} is a damaged picture ({error}); save or copy it again") from error


def _rgb(image: Image.Image, background_rgb: tuple[int, int, int]) -> np.ndarray:
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits a pixel, or more
        values = np.asarray(image, np.float64)
        top = 1.0 if image.mode == "F" and values.max() <= 1 else 65535.0
        grey = np.clip(values / top * 255, 0, 255).round().astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*background_rgb, 255)), image)
    return np.asarray(image.convert("RGB"))
