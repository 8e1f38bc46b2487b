"""What people bring: a scene as a zip, a PSD, an ORA, or cut-outs of their own. Told apart by what is in a file, never by its name."""

from __future__ import annotations

import io
import re
import tempfile
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dreamlayer_jax.files import SCENE_FILE
from dreamlayer_jax.layer_axis import Role
from dreamlayer_jax.layered_image import LayeredImage
from dreamlayer_jax.picture import PictureError, read_layer
from dreamlayer_jax.scene import Layer
from dreamlayer_jax.studio.limits import Limits, StudioError, TooMuch

Named = tuple[str, UInt8[np.ndarray, "h w 4"]]
OnWarning = Callable[[str], None]


def open_uploads(files: Sequence[tuple[str, Path]], folder: Path, limits: Limits, on_warning: OnWarning) -> LayeredImage:
    """A scene of one scene zip, PSD or ORA, or of pictures with alpha, the first the farthest.

    Args:
        files: what each was called, and where the studio keeps it.
        folder: the studio's own, for what a zip holds.
        limits: of what is unpacked and decoded.
        on_warning: told of what was left out.

    Raises `StudioError`, `PictureError` or `ValueError` for a file that is none of these, is damaged, or passes a limit.
    """
    if not files:
        raise StudioError("no file was given; give a scene's zip, a PSD, an ORA, or cut-outs with alpha")
    if len(files) > 1:
        return _scene([_cut_out(name, path, limits) for name, path in files], limits)
    name, path = files[0]
    with path.open("rb") as file:
        start = file.read(4)
    if start == b"8BPS":
        return _scene(_psd(path, limits, on_warning), limits)
    if start == b"PK\x03\x04":
        with _zip(path, name, limits) as archive:
            if "stack.xml" in archive.namelist():
                return _scene(_ora(archive, limits, on_warning), limits)
            return _scene_zip(archive, folder, limits, on_warning)
    return _scene([_cut_out(name, path, limits)], limits)


def read_upload(name: str, path: Path, limits: Limits) -> UInt8[np.ndarray, "h w 4"]:
    """A picture's pixels; messages call it what its owner calls it. Raises `TooMuch` for one that is larger than a scene may be."""
    try:
        pixels = read_layer(path)
    except PictureError as error:
        raise PictureError(str(error).replace(str(path), name)) from None
    _check(pixels.shape[:2], 1, limits)
    return pixels


def _cut_out(name: str, path: Path, limits: Limits) -> Named:
    return re.sub(r"[^\w]+|_", " ", PurePosixPath(name).stem).strip() or "layer", read_upload(name, path, limits)


def _scene(layers: Sequence[Named], limits: Limits) -> LayeredImage:
    """Named pictures, far to near, each in the middle of a canvas that holds the largest; a white background goes under a clear one."""
    if not layers:
        raise StudioError("the file has no layer with pixels in it")
    size = (max(pixels.shape[0] for _, pixels in layers), max(pixels.shape[1] for _, pixels in layers))
    _check(size, len(layers) + 1, limits)
    placed = [(name, _in_the_middle(pixels, size)) for name, pixels in layers]
    if not (placed[0][1][..., 3] == 255).all():
        placed.insert(0, ("a white background", np.full((*size, 4), 255, np.uint8)))
    made = tuple(
        Layer(prompt=name, role=Role.FOREGROUND if i else Role.BACKGROUND, rgba_straight=pixels) for i, (name, pixels) in enumerate(placed)
    )
    if len(made) == 1:
        raise StudioError("it has one opaque picture and nothing in front of it; to find its layers, take it apart instead")
    blend = LayeredImage(layers=made, global_rgb=made[0].rgba_straight[..., :3], context_maps=_maps(made, size), seed=0).blend
    return LayeredImage(layers=made, global_rgb=blend, context_maps=_maps(made, size), seed=0)


def _maps(layers: Sequence[Layer], size: tuple[int, int]) -> np.ndarray:
    rows, columns = (side // 8 if side % 8 == 0 else side for side in size)
    return np.zeros((len(layers) - 1, rows, columns), np.float32)


def _in_the_middle(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if pixels.shape[:2] == size:
        return pixels
    canvas = np.zeros((*size, 4), np.uint8)
    top, left = ((whole - part) // 2 for whole, part in zip(size, pixels.shape[:2], strict=True))
    canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return canvas


def _check(size: tuple[int, int], layers: int, limits: Limits) -> None:
    height, width = size
    if layers > limits.layers:
        raise TooMuch(f"it has {layers} layers with the background; the studio takes {limits.layers}")
    if max(size) > limits.side or layers * height * width > limits.pixels:
        raise TooMuch(
            f"it is {width}x{height} pixels in {layers} layers; the studio takes {limits.side} a side and "
            f"{limits.pixels // 10**6} million in all: make it smaller"
        )


def _psd(path: Path, limits: Limits, on_warning: OnWarning) -> list[Named]:
    from psd_tools import PSDImage
    from psd_tools.constants import BlendMode

    try:
        with path.open("rb") as file:
            document = PSDImage.open(file)
        leaves = [layer for layer in document.descendants() if not layer.is_group()]
        _check((document.height, document.width), len(leaves), limits)
        found: list[Named] = []
        for layer in leaves:
            if not layer.is_visible() or layer.width == 0 or layer.height == 0:
                continue
            if layer.blend_mode is not BlendMode.NORMAL:
                on_warning(f"the layer “{layer.name}” is left out: only layers of the normal mode are taken")
                continue
            _check((layer.height, layer.width), 1, limits)
            pixels = np.asarray(layer.topil().convert("RGBA")).copy()
            pixels[..., 3] = np.round(pixels[..., 3] * (layer.opacity / 255))
            found.append((layer.name, _pasted(pixels, (document.height, document.width), layer.top, layer.left)))
        return found
    except StudioError:
        raise
    except Exception as error:  # psd-tools raises many kinds for a damaged file
        raise StudioError("the PSD cannot be read: it is damaged, or of a kind that psd-tools does not know") from error


def _pasted(pixels: np.ndarray, size: tuple[int, int], top: int, left: int) -> np.ndarray:
    canvas = Image.new("RGBA", (size[1], size[0]))
    canvas.paste(Image.fromarray(pixels), (left, top))
    return np.asarray(canvas)


def _ora(archive: zipfile.ZipFile, limits: Limits, on_warning: OnWarning) -> list[Named]:
    """OpenRaster, https://www.openraster.org: stack.xml lists the layers, nearest first."""
    text = _member(archive, "stack.xml", limits)
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise StudioError("the ORA's stack.xml declares entities, which no editor writes; it is not opened")
    try:
        stack = ElementTree.fromstring(text)
        size = int(stack.attrib["h"]), int(stack.attrib["w"])
        leaves = [element for element in stack.iter("layer") if element.get("visibility", "visible") == "visible"]
        places = [(float(leaf.get("opacity", 1)), int(leaf.get("y", 0)), int(leaf.get("x", 0))) for leaf in leaves]
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise StudioError(f"the ORA's stack.xml is damaged: {error}") from None
    if min(size) < 1:
        raise StudioError("the ORA's stack.xml says that it has no pixels")
    _check(size, len(leaves), limits)
    found: list[Named] = []
    for leaf, (opacity, top, left) in reversed(list(zip(leaves, places, strict=True))):
        name = leaf.get("name", "layer")
        if leaf.get("composite-op", "svg:src-over") != "svg:src-over":
            on_warning(f"the layer “{name}” is left out: only layers of the normal mode are taken")
            continue
        try:
            with Image.open(io.BytesIO(_member(archive, leaf.get("src", ""), limits)), formats=("PNG",)) as image:
                _check((image.height, image.width), 1, limits)
                pixels = read_layer(image).copy()
        except OSError as error:
            raise StudioError(f"the ORA's layer “{name}” is no PNG") from error
        pixels[..., 3] = np.round(pixels[..., 3] * min(max(opacity, 0), 1))
        found.append((name, _pasted(pixels, size, top, left)))
    return found


def _scene_zip(archive: zipfile.ZipFile, folder: Path, limits: Limits, on_warning: OnWarning) -> LayeredImage:
    """Only files that lie beside scene.json are unpacked, by their last name alone."""
    listings = [name for name in archive.namelist() if PurePosixPath(name).name == SCENE_FILE]
    if len(listings) != 1:
        raise StudioError(f"the zip holds {len(listings)} files {SCENE_FILE}; give the zip of one scene folder, a PSD or an ORA")
    beside = PurePosixPath(listings[0]).parent
    with tempfile.TemporaryDirectory(dir=folder) as scene:
        for name in archive.namelist():
            path = PurePosixPath(name)
            if path.parent == beside and re.fullmatch(r"[A-Za-z0-9_]+\.(json|png|safetensors)", path.name):
                (Path(scene) / path.name).write_bytes(_member(archive, name, limits))
        try:
            image = LayeredImage.load(scene, on_warning)
        except (ValueError, FileNotFoundError) as error:
            raise StudioError(str(error).replace(f"{scene}/", "").replace(scene, "the zip")) from None
    if len(image.layers) < 2:
        raise StudioError("the scene has only a background; nothing lies in front of it")
    _check(image.size, len(image.layers), limits)
    return image


def _zip(path: Path, name: str, limits: Limits) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(io.BytesIO(path.read_bytes()))
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise StudioError(f"{name} is a damaged zip; save or copy it again") from None
    members = archive.infolist()
    if len(members) > limits.members:
        raise TooMuch(f"{name} holds {len(members)} files; the studio opens {limits.members}")
    if sum(member.file_size for member in members) > limits.unpacked_bytes:
        raise TooMuch(f"{name} is more than {limits.unpacked_bytes >> 20} MiB unpacked")
    return archive


def _member(archive: zipfile.ZipFile, name: str, limits: Limits) -> bytes:
    """Its bytes, and never more of them than it says."""
    try:
        size = archive.getinfo(name).file_size
        with archive.open(name) as file:
            content = file.read(min(size, limits.unpacked_bytes) + 1)
    except (KeyError, zipfile.BadZipFile, RuntimeError, OSError, EOFError, NotImplementedError) as error:
        raise StudioError(f"the zip's {name or 'file without a name'} cannot be read: {error}") from None
    if len(content) > size:
        raise StudioError(f"the zip's {name} is longer than it says")
    return content
