"""A scene as a Photoshop document, through psd-tools: 8-bit RGB, one pixel layer a scene layer, and the merged picture.

Format: Adobe Photoshop File Formats Specification, https://www.adobe.com/devnet-apps/photoshop/fileformatashtml/.
"""

from __future__ import annotations

import io
import unicodedata
from pathlib import Path

from PIL import Image
from psd_tools import PSDImage
from psd_tools.constants import BlendMode
from psd_tools.psd import PSD

from dreamlayer_jax.export.editor_layers import Mode, editor_layers, merged
from dreamlayer_jax.scene import Scene

BLEND_MODES = {Mode.NORMAL: BlendMode.NORMAL, Mode.MULTIPLY: BlendMode.MULTIPLY, Mode.SCREEN: BlendMode.SCREEN}


def old_name(name: str, number: int) -> str:
    """The name in Mac OS Roman, which old programs show: without accents that it lacks, or "layer 2" where that leaves too little."""
    try:
        name.encode("macroman")
        return name
    except UnicodeEncodeError:
        plain = unicodedata.normalize("NFKD", name).encode("macroman", "ignore").decode("macroman").strip()
    return plain if 2 * len(plain) > len(name) else f"layer {number}"


def write_psd(image: Scene, path: Path, *, shadow: bool = False) -> None:
    """Writes `path`; the same image gives the same bytes. Raises `RequestError` (see `editor_layers`)."""
    picture = merged(image, shadow=shadow)
    document = PSDImage.frompil(Image.fromarray(picture))
    for number, layer in enumerate(editor_layers(image, shadow=shadow)):
        # From an array, because a Pillow image's alpha would become a mask in an RGB document. The name is set afterwards, because
        # only the setter writes a name that Mac OS Roman lacks.
        made = document.create_pixel_layer_from_array(
            layer.rgba_straight, top=layer.top, left=layer.left, blend_mode=BLEND_MODES[layer.mode]
        )
        made.name = layer.name
        made._record.name = old_name(layer.name, number)
    drawn = io.BytesIO()
    document.save(drawn)
    # Saving replaced the merged picture by psd-tools' own rendering of the stack: put the scene's back.
    drawn.seek(0)
    record = PSD.read(drawn)
    record.image_data.set_data([picture[..., channel].tobytes() for channel in range(3)], record.header)
    with path.open("wb") as file:
        record.write(file)
