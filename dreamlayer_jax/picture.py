"""Reading a person's picture: the one place where a picture file is opened.

Only `FORMATS` are tried, whatever the file is called: Pillow knows many more, and hands one of them (PostScript) to another program. Only
regular files are read, and sizes are looked at before pixels are decoded. Pixels come out as a viewer shows them: upright by the EXIF
orientation, in sRGB by the colour profile, 16 bits and floats at the same brightness as 8 bits.
"""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from dreamlayer_jax.files import read_regular

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
NAMES = "PNG, JPEG, WebP, TIFF or BMP"
MAX_PIXELS = 100_000_000
MAX_DEEP_PIXELS = MAX_PIXELS // 4
"""Of pictures with more than 8 bits a channel, which take four times the memory."""
MAX_BYTES = 1 << 29

Picture = str | Path | Image.Image | np.ndarray
"""A picture file, or one in memory: Pillow's, or uint8 of shape (h, w), (h, w, 3) or (h, w, 4)."""

_ORIENTATION = 0x0112
_TURNS = dict(
    enumerate(("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"), start=2)
)
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_MAX_PROFILE = 1 << 20


class PictureError(ValueError):
    """A file that is no picture, or one that cannot be used."""


class MissingPictureError(PictureError, FileNotFoundError):
    """There is no such file."""


def _say_nothing(_: str) -> None:
    pass


def read_picture(
    picture: Picture, background_rgb: tuple[int, int, int] = (255, 255, 255), on_warning: Callable[[str], None] = _say_nothing
) -> UInt8[np.ndarray, "h w 3"]:
    """A picture as RGB. Transparent pixels are laid over `background_rgb`, which `on_warning` is told.

    Raises:
        PictureError: there is no such file, it is none of `FORMATS`, it is damaged, or it has too many pixels.
    """
    image = _eight_bits(picture)
    if image.mode != "RGBA":
        return np.asarray(image)
    if image.getchannel("A").getextrema()[0] < 255:
        on_warning(f"{_name(picture)} is transparent in places; they are laid over {_colour(background_rgb)}")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, (*background_rgb, 255)), image).convert("RGB"))


def read_layer(
    picture: Picture, size: tuple[int, int] | None = None, on_warning: Callable[[str], None] = _say_nothing
) -> UInt8[np.ndarray, "h w 4"]:
    """A layer as straight RGBA; opaque if it has no alpha, which `on_warning` is told.

    Raises `PictureError` as `read_picture` does, and, before anything is decoded, for another size than `size` (height, width).
    """
    image = _eight_bits(picture, size)
    if image.mode != "RGBA":
        on_warning(f"{_name(picture)} has no alpha: it is read as opaque everywhere")
    return np.asarray(image.convert("RGBA"))


def read_map(picture: Picture, size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "h w"]:
    """A picture's brightness; arguments and errors as of `read_layer`."""
    return np.asarray(_eight_bits(picture, size).convert("L"))


def is_animated(picture: Picture) -> bool:
    """Whether a file holds more pictures than one. Raises `PictureError` as `read_picture` does."""
    with _damage_told(_name(picture)), _opened(picture) as image:
        return getattr(image, "n_frames", 1) > 1


def _eight_bits(picture: Picture, size: tuple[int, int] | None = None) -> Image.Image:
    """The picture loaded, upright, sRGB, "RGB" or "RGBA"."""
    name = _name(picture)
    with _damage_told(name), _opened(picture) as image:
        _check_size(image, name, size)
        image.load()
        return _upright(_srgb(_plain(image), image.info.get("icc_profile")), image)


@contextlib.contextmanager
def _damage_told(name: str) -> Iterator[None]:
    """Whatever Pillow raises for a file becomes a `PictureError` of one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of bombs (the limit here is lower) and of what it makes of damaged metadata
            yield
    except PictureError:
        raise
    except FileNotFoundError:
        raise MissingPictureError(f"there is no picture {name}") from None
    except IsADirectoryError:
        raise PictureError(f"{name} is a folder; give one picture file") from None
    except PermissionError as error:
        raise PictureError(f"{name} cannot be read ({error.strerror})") from None
    except UnidentifiedImageError:
        raise PictureError(f"{name} is no picture of a known format; give a {NAMES} file") from None
    except Image.DecompressionBombError:
        raise PictureError(f"{name} says that it has too many pixels to read; at most {MAX_PIXELS // 10**6} million") from None
    except Exception as error:  # Pillow's readers raise nearly every kind there is for a damaged file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PictureError(f"{name} is a damaged picture ({reason}); save or copy it again") from error


def _opened(picture: Picture) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture.copy()
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or not (picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] in (3, 4))) or 0 in picture.shape:
            raise PictureError(
                f"the picture is an array of {picture.dtype} and shape {picture.shape}; give uint8 of (height, width), with 3 or 4 channels"
            )
        return Image.fromarray(picture)
    try:
        content = read_regular(picture, MAX_BYTES)
    except ValueError as error:
        raise PictureError(f"{error}; give a picture file") from None
    return Image.open(io.BytesIO(_pixels_alone(content) if content.startswith(_PNG_START) else content), formats=FORMATS)


def _pixels_alone(png: bytes) -> bytes:
    """A PNG without the chunks that say nothing of its pixels: a long text in one of them is no reason to refuse the picture."""
    kept, place, view = [png[:8]], 8, memoryview(png)
    while place + 8 <= len(png):
        kind, end = png[place + 4 : place + 8], place + 12 + int.from_bytes(png[place : place + 4])
        if kind == b"eXIf":
            kept.insert(2, view[place:end])  # where it is found before the pixels are decoded
        elif kind in _PNG_PIXELS or (kind == b"iCCP" and _is_sound_profile(png[place + 8 : end - 4])):
            kept.append(view[place:end])
        place = end
    return b"".join(kept)


def _is_sound_profile(chunk: bytes) -> bool:
    _, _, rest = chunk.partition(b"\0")
    try:
        return len(zlib.decompressobj().decompress(rest[1:], _MAX_PROFILE)) < _MAX_PROFILE
    except zlib.error:
        return False


def _check_size(image: Image.Image, name: str, size: tuple[int, int] | None) -> None:
    """By the header alone."""
    width, height = reversed(image.size) if _lies_down(image) else image.size
    most = MAX_PIXELS if _bits_are_few(image) else MAX_DEEP_PIXELS
    if width * height > most:
        raise PictureError(f"{name} has {width}x{height} pixels; at most {most // 10**6} million are read: make it smaller")
    if size is not None and (height, width) != tuple(size):
        raise PictureError(f"{name} is {width}x{height} pixels (width x height), and the scene is {size[1]}x{size[0]}: resize it to that")


def _bits_are_few(image: Image.Image) -> bool:
    return not image.mode.startswith(("I", "F"))


def _plain(image: Image.Image) -> Image.Image:
    """8 bits a channel, in the picture's own colours: "L", "LA", "RGB", "RGBA", "CMYK" or "LAB"."""
    if not _bits_are_few(image):
        return _from_deep(np.asarray(image))
    if image.has_transparency_data:
        return image if image.mode in ("LA", "RGBA") else image.convert("RGBA")
    return image if image.mode in ("L", "RGB", "CMYK", "LAB") else image.convert("L" if image.mode == "1" else "RGB")


def _from_deep(values: np.ndarray) -> Image.Image:
    """Grey of 16 or 32 bits, or floats. What is white is nowhere written: the first of 1 and 255 (floats alone), 65535 and 2³¹ − 1 that no
    value passes by more than twice.
    """
    tops = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (65535.0,)
    values = np.nan_to_num(values.astype(np.float32), copy=False, posinf=np.finfo(np.float32).max)
    white = next((top for top in tops if values.max(initial=0) <= 2 * top), 2.0**31 - 1)
    np.clip(values, 0, white, out=values)
    values *= np.float32(255 / white)
    return Image.fromarray(values.round(out=values).astype(np.uint8))


def _srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """ "RGB" or "RGBA" in sRGB, by the profile that came with the picture; a profile that cannot be used is left out."""
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    colours = image.convert("L" if image.mode == "LA" else "RGB") if alpha is not None else image
    plain = (_by_profile(colours, profile) if profile else None) or colours.convert("RGB")
    if alpha is not None:
        plain.putalpha(alpha)
    return plain


def _by_profile(image: Image.Image, profile: bytes) -> Image.Image | None:
    try:
        from PIL import ImageCms

        if b"srgb" in _described(profile).lower():
            return None
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImportError, OSError, TypeError, ValueError, ImageCms.PyCMSError):
        return None


def _described(profile: bytes) -> bytes:
    """What a profile calls itself, in one byte a letter; read here, for LittleCMS allocates as many names as a damaged one says it has."""
    for entry in range(132, min(len(profile), 132 + 12 * int.from_bytes(profile[128:132])), 12):
        kind, start, length = profile[entry : entry + 4], *struct.unpack(">II", profile[entry + 4 : entry + 12].ljust(8, b"\0"))
        if kind == b"desc":
            return profile[start : start + length].replace(b"\0", b"")
    return b""


def _upright(pixels: Image.Image, image: Image.Image) -> Image.Image:
    turn = _TURNS.get(_orientation(image))
    return pixels.transpose(Image.Transpose[turn]) if turn else pixels


def _lies_down(image: Image.Image) -> bool:
    """Whether height and width change places."""
    return _orientation(image) in range(5, 9)


def _orientation(image: Image.Image) -> int | None:
    """By what lies beside the pixels; a TIFF, which has it elsewhere, is turned by Pillow itself."""
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        return exif.get(_ORIENTATION)
    except Exception:  # as many kinds as there are ways to damage it; the pixels are sound
        return None


def _name(picture: Picture) -> str:
    return "the picture" if isinstance(picture, Image.Image | np.ndarray) else str(picture)


def _colour(rgb: tuple[int, int, int]) -> str:
    return "white" if rgb == (255, 255, 255) else f"the colour {rgb}"
