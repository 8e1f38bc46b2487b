"""A scene as an OpenRaster file, which Krita, GIMP and MyPaint open: a zip of PNG files and the stack that orders them.

mimetype                      "image/openraster", first and not compressed
stack.xml                     the layers, nearest first, with name, place and composite operation
data/0.png …                  the layers, far to near, straight RGBA, each cut to the box of its visible pixels
mergedimage.png               the whole picture
Thumbnails/thumbnail.png      the same, at most 256 pixels a side

Format: https://www.openraster.org/baseline/.
"""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

from PIL import Image

from dreamlayer_jax.export.editor_layers import EditorLayer, Mode, editor_layers, merged
from dreamlayer_jax.scene import Scene

MIMETYPE = "image/openraster"
VERSION = "0.0.6"
THUMBNAIL_SIDE = 256
COMPOSITE_OPS = {Mode.NORMAL: "svg:src-over", Mode.MULTIPLY: "svg:multiply", Mode.SCREEN: "svg:screen"}


def write_openraster(image: Scene, path: Path, *, shadow: bool = False) -> None:
    """Writes `path`; the same image gives the same bytes. Raises `RequestError` (see `editor_layers`)."""
    layers = editor_layers(image, shadow=shadow)
    whole = Image.fromarray(merged(image, shadow=shadow))
    thumbnail = whole.copy()
    thumbnail.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    entries = {"stack.xml": stack_xml(layers, image.size)}
    entries |= {_source(i): _png(Image.fromarray(layer.rgba_straight)) for i, layer in enumerate(layers)}
    entries |= {"mergedimage.png": _png(whole), "Thumbnails/thumbnail.png": _png(thumbnail)}
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(zipfile.ZipInfo("mimetype"), MIMETYPE, zipfile.ZIP_STORED)  # a ZipInfo has a fixed date
        for name, content in entries.items():
            file.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def stack_xml(layers: tuple[EditorLayer, ...], size: tuple[int, int]) -> bytes:
    """The stack of layers given far to near, on a canvas of `size` (height, width)."""
    height, width = size
    image = ET.Element("image", {"version": VERSION, "w": str(width), "h": str(height)})
    stack = ET.SubElement(image, "stack")
    for i, layer in reversed(list(enumerate(layers))):
        ET.SubElement(
            stack,
            "layer",
            {
                "name": layer.name,
                "src": _source(i),
                "x": str(layer.left),
                "y": str(layer.top),
                "opacity": "1.0",
                "visibility": "visible",
                "composite-op": COMPOSITE_OPS[layer.mode],
            },
        )
    return ET.tostring(image, encoding="UTF-8", xml_declaration=True)


def _source(i: int) -> str:
    return f"data/{i}.png"


def _png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG", optimize=True)
    return content.getvalue()
