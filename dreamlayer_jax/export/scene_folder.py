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
import math
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from dreamlayer_jax.compositing import from_uint8, to_uint8
from dreamlayer_jax.export.editor_file import EditorFormat, write_format
from dreamlayer_jax.export.sheet import contact_sheet
from dreamlayer_jax.files import SCENE_FILE, recover, write_json
from dreamlayer_jax.layer_axis import Role
from dreamlayer_jax.picture import PictureError, read_layer, read_map
from dreamlayer_jax.scene import KeptLatents, Layer, Scene
from dreamlayer_jax.scene_json import FORMAT, read_scene_json
from dreamlayer_jax.strict_json import SchemaError
from dreamlayer_jax.version import __version__

LATENTS_FILE = "latents.safetensors"
MAX_CHANNELS = 64
MAX_KEPT_BYTES = 1 << 30


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
    for entry, layer in zip(layers, image.layers, strict=True):
        if layer.support is not None:
            entry["support"] = round(layer.support, 3)
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
    write_json(folder / SCENE_FILE, scene)


def read_scene(folder: str | Path, on_warning: Callable[[str], None] = lambda _: None) -> Scene:
    """The image that `write_scene` wrote, or that an editor saved its pictures of again. Context maps come back as 8 bits stored them.

    `on_warning` is told of a foreground that has lost its alpha, and so covers everything behind it.

    Raises `FileNotFoundError` if the folder or a file that it names is missing, `ValueError` if one is damaged.
    """
    folder = Path(folder)
    recover(folder)
    scene = read_scene_json(folder)
    path = folder / SCENE_FILE
    for key, value in (("size", scene.size), ("context_size", scene.context_size), ("global", scene.whole), ("seed", scene.seed)):
        if value is None:
            raise SchemaError(f"{path} is damaged: it lacks {key!r}")
    maps = []
    for i, entry in enumerate(scene.layers[1:], start=1):
        if entry.context is None:
            raise SchemaError(f"{path} is damaged: it lacks 'layers.{i}.context'")
        (height, width), (map_height, map_width) = scene.size, scene.context_size
        maps.append(read_map(folder / entry.context, scene.size)[:: height // map_height, :: width // map_width])
    try:
        return Scene(
            layers=tuple(
                Layer(
                    prompt=entry.prompt,
                    role=Role[(entry.role or ("foreground" if i else "background")).upper()],
                    rgba_straight=read_layer(folder / entry.file, scene.size, on_warning if i else lambda _: None),
                    support=entry.support,
                )
                for i, entry in enumerate(scene.layers)
            ),
            global_rgb=_rgb(folder / scene.whole, scene.size),
            context_maps=from_uint8(np.stack(maps)) if maps else np.zeros((0, *scene.context_size), np.float32),
            seed=scene.seed,
            settings=scene.settings,
            model=scene.model,
            composite_rgb=_rgb(folder / scene.composite, scene.size) if scene.composite else None,
            kept=_kept(folder / scene.latents, len(scene.layers), scene.size) if scene.latents else None,
        )
    except (SchemaError, PictureError):
        raise
    except ValueError as error:
        raise SchemaError(f"{path}: {error}") from error


def _rgb(path: Path, size: tuple[int, int]) -> np.ndarray:
    return read_layer(path, size)[..., :3]


def _kept(path: Path, layers: int, size: tuple[int, int]) -> KeptLatents:
    """The latents, if what the file's header says is a scene's of so many layers and of this size."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing, though {SCENE_FILE} names it" if not path.exists() else f"{path} is no regular file")
    try:
        with safe_open(path, framework="numpy") as opened:
            names = sorted(opened.keys())
            if names != ["clean", "states", "t"]:
                raise ValueError(f"it holds {', '.join(names)[:80]}; expected is clean, states, t")
            parts = {name: opened.get_slice(name) for name in names}
            shapes, types = ({name: call(part) for name, part in parts.items()} for call in (_shape, lambda part: part.get_dtype()))
            if types != {"clean": "F32", "states": "F32", "t": "I32"}:
                raise ValueError(f"it holds {types}; expected are F32, F32 and I32")
            clean, steps = shapes["clean"], shapes["t"]
            if len(clean) != 4 or len(steps) != 1 or shapes["states"] != (*steps, *clean):
                raise ValueError(f"t {steps}, states {shapes['states']} and clean {clean} do not fit together")
            if clean[0] != layers + 1:
                raise ValueError(f"it holds latents of {clean[0]} layers; the scene's {layers} and its global picture are {layers + 1}")
            if not all(1 <= side <= max(size) for side in clean[1:3]) or not 1 <= clean[3] <= MAX_CHANNELS:
                raise ValueError(f"its latents are {clean[1]}x{clean[2]}x{clean[3]}, too many for a scene of {size[0]}x{size[1]} pixels")
            if 4 * math.prod(shapes["states"]) > MAX_KEPT_BYTES:
                raise ValueError(f"its states are more than {MAX_KEPT_BYTES >> 20} MiB")
            kept = KeptLatents(**{name: opened.get_tensor(name) for name in names})
    except (SafetensorError, ValueError, OSError) as error:
        raise SchemaError(f"{path} is damaged: {error}") from error
    if not (np.isfinite(kept.states).all() and np.isfinite(kept.clean).all()):
        raise SchemaError(f"{path} holds latents that are not finite: the scene must be made again")
    if len(kept.t) and (kept.t.min() < 0 or (np.diff(kept.t) >= 0).any()):
        raise SchemaError(f"{path}: its timesteps do not go down to 0")
    return kept


def _shape(part: Any) -> tuple[int, ...]:
    return tuple(part.get_shape())
