"""A layered image as a folder of PNG files and one `scene.json` that names them.

scene.json                    prompts, order, seed, settings, file names, version
0_background.png              straight RGBA, full canvas
1_<prompt>.png …              the foregrounds, far to near
global.png                    the whole picture as the model drew it
blend.png                     Eq. 1 of the layers
composite.png                 the layers harmonised, where the scene has them so
context_1.png …               the context maps, each value a block of pixels, so that they fit the canvas
latents.safetensors           the latents kept from T_H down, where the scene has them: what later edits start from
sheet.png                     everything side by side
scene.psd or scene.ora        the same for an image editor, if asked for
"""

from __future__ import annotations

import dataclasses
import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from dreamlayer_jax.compositing import from_uint8, to_uint8
from dreamlayer_jax.export.editor_file import EditorFormat, write_format
from dreamlayer_jax.export.sheet import contact_sheet
from dreamlayer_jax.files import SCENE_FILE
from dreamlayer_jax.layer_axis import Role
from dreamlayer_jax.scene import KeptLatents, Layer, Scene
from dreamlayer_jax.version import __version__

FORMAT = 1
LATENTS_FILE = "latents.safetensors"


def slug(prompt: str) -> str:
    """A prompt as a piece of a file name: "A red apple!" -> "a_red_apple"; at most 40 characters of a-z, 0-9 and _."""
    plain = unicodedata.normalize("NFKD", prompt).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", plain)[:40].strip("_") or "layer"


def write_scene(image: Scene, folder: Path, *, editor_format: EditorFormat | None = None) -> None:
    """Fills an existing, empty folder; `editor_format` adds scene.psd or scene.ora. The same image gives the same bytes."""
    layers = [{"role": "background", "prompt": image.background.prompt, "file": "0_background.png"}] + [
        {"role": "foreground", "prompt": layer.prompt, "file": f"{i}_{slug(layer.prompt)}.png", "context": f"context_{i}.png"}
        for i, layer in enumerate(image.foregrounds, start=1)
    ]
    pictures = {entry["file"]: layer.rgba_straight for entry, layer in zip(layers, image.layers, strict=True)}
    pictures |= {"global.png": image.global_rgb, "blend.png": image.blend}
    if image.composite_rgb is not None:
        pictures["composite.png"] = image.composite_rgb
    rows, columns = (side // part for side, part in zip(image.size, image.context_maps.shape[1:], strict=True))
    for entry, context_map in zip(layers[1:], image.context_maps, strict=True):
        pictures[entry["context"]] = to_uint8(context_map).repeat(rows, axis=0).repeat(columns, axis=1)
    pictures["sheet.png"] = contact_sheet(image)
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(folder / name)
    others = []
    if image.kept is not None:
        others.append(LATENTS_FILE)
        kept = {field.name: getattr(image.kept, field.name) for field in dataclasses.fields(image.kept)}
        (folder / LATENTS_FILE).write_bytes(save(kept))
    if editor_format is not None:
        others.append(f"scene.{editor_format}")
        write_format(image, folder / others[-1], editor_format)
    scene = {
        "format": FORMAT,
        "version": __version__,
        "model": image.model,
        "seed": image.seed,
        "settings": dict(image.settings),
        "size": list(image.size),
        "layers": layers,
        "global": "global.png",
        "blend": "blend.png",
        "composite": None if image.composite_rgb is None else "composite.png",
        "sheet": "sheet.png",
        "context_size": list(image.context_maps.shape[1:]),
        "latents": None if image.kept is None else LATENTS_FILE,
        "files": sorted([*pictures, *others]),
    }
    (folder / SCENE_FILE).write_text(json.dumps(scene, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_scene(folder: str | Path) -> Scene:
    """The image that `write_scene` wrote. Context maps come back as 8 bits stored them.

    Raises `FileNotFoundError` if the folder or a file that it names is missing, `ValueError` if one is damaged.
    """
    folder = Path(folder)
    path = folder / SCENE_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is no scene folder: it has no {SCENE_FILE}")
    try:
        scene = json.loads(path.read_text(encoding="utf-8"))
        if scene["format"] != FORMAT:
            raise ValueError(f"format {scene['format']}, this version reads format {FORMAT}")
        return _assemble(scene, folder)
    except KeyError as error:
        raise ValueError(f"{path} is damaged: it lacks {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _assemble(scene: dict[str, Any], folder: Path) -> Scene:
    layers = tuple(
        Layer(prompt=entry["prompt"], role=Role[entry["role"].upper()], rgba_straight=_pixels(folder / entry["file"], "RGBA"))
        for entry in scene["layers"]
    )
    (height, width), (map_height, map_width) = scene["size"], scene["context_size"]
    maps = [_pixels(folder / entry["context"], "L")[:: height // map_height, :: width // map_width] for entry in scene["layers"][1:]]
    return Scene(
        layers=layers,
        global_rgb=_pixels(folder / scene["global"], "RGB"),
        context_maps=from_uint8(np.stack(maps)) if maps else np.zeros((0, map_height, map_width), np.float32),
        seed=scene["seed"],
        settings=scene["settings"],
        model=scene["model"],
        composite_rgb=_pixels(folder / scene["composite"], "RGB") if scene.get("composite") else None,
        kept=_kept(folder / scene["latents"]) if scene.get("latents") else None,
    )


def _kept(path: Path) -> KeptLatents:
    try:
        return KeptLatents(**load(path.read_bytes()))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing, though {SCENE_FILE} names it") from None
    except (SafetensorError, TypeError) as error:
        raise ValueError(f"{path.name} is damaged: {error}") from error


def _pixels(path: Path, mode: str) -> np.ndarray:
    try:
        with Image.open(path) as image:
            image.load()
            if image.mode != mode:
                raise ValueError(f"{path.name} is {image.mode}, expected {mode}")
            return np.asarray(image)
    except (UnidentifiedImageError, SyntaxError) as error:
        raise ValueError(f"{path.name} is no readable picture") from error
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing, though {SCENE_FILE} names it") from None
    except OSError as error:
        raise ValueError(f"{path.name} is damaged: {error}") from error
