"""A document as one file: pictures, PSD and ORA as the page shows them, or the whole scene, which opens again here and in `edit`."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path
from typing import Literal

from PIL import Image

from dreamlayer_jax.export.editor_file import write_editor_file
from dreamlayer_jax.export.scene_folder import slug
from dreamlayer_jax.studio.document import Document, as_shown
from dreamlayer_jax.studio.limits import StudioError

Form = Literal["png", "psd", "ora", "scene"]
TYPES = {"png": "application/zip", "psd": "image/vnd.adobe.photoshop", "ora": "image/openraster", "scene": "application/zip"}
NAMES = {"png": "layers.zip", "psd": "scene.psd", "ora": "scene.ora", "scene": "scene.zip"}


def download(document: Document, form: Form, folder: Path) -> bytes:
    """The file's bytes, made in the studio's own folder. In PSD and ORA, two more layers hold the shadow and light of harmonisation.

    Raises `StudioError` while the picture is still being made.
    """
    if document.image is None:
        raise StudioError("the layers are still being harmonised; wait for that, or undo")
    image = document.image
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        target = Path(temporary)
        if form == "scene":
            image.save(target / "scene")
            return _zipped(target / "scene", "scene")
        shown = as_shown(image, document.looks, named=True)
        if form in ("psd", "ora"):
            return write_editor_file(shown, target / f"scene.{form}", shadow=shown.composite_rgb is not None).read_bytes()
        for i, layer in enumerate(shown.layers):
            Image.fromarray(layer.rgba_straight).save(target / f"{i}_{slug(layer.prompt)}.png")
        Image.fromarray(shown.blend).save(target / "blend.png")
        if shown.composite_rgb is not None:
            Image.fromarray(shown.composite_rgb).save(target / "composite.png")
        return _zipped(target, "")


def _zipped(folder: Path, name: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, Path(name, file.name))
    return packed.getvalue()
