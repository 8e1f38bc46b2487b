"""scene.json: the one schema of a scene folder's listing, checked before any file that it names is opened."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from dreamlayer_jax.config import Sampler
from dreamlayer_jax.files import SCENE_FILE, inside
from dreamlayer_jax.strict_json import SchemaError, from_tree, read_json

FORMAT = 1
MAX_LAYERS = 100
MAX_SIDE = 16384
MAX_PIXELS = 1 << 27
"""Of all layers of a scene together: half a gigabyte of RGBA."""

Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
Name = Annotated[str, Field(min_length=1, max_length=255)]
Timestep = Annotated[int, Field(ge=0, le=100_000)]
Text = Annotated[str, Field(max_length=10_000)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerEntry:
    """One layer, and the files that show it."""

    prompt: Text
    file: Name
    role: Literal["background", "foreground"] | None = None
    context: Name | None = None
    name: Text | None = None
    """The canonical object, where it is not the prompt."""
    support: Annotated[float, Field(ge=0, le=1)] | None = None
    """How much of a foreground that was found in a picture the picture bears out."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Of `settings`, which may hold anything else too, what a later edit takes."""

    sampler: Sampler = "ddim"
    steps: Annotated[int, Field(ge=1, le=100_000)] = 50
    guidance: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    guidance_interval: tuple[Timestep, Timestep] | None = None
    negative: Text = ""
    harmonize: tuple[int, int] | None = None
    edits: list[dict[str, JsonValue]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
    """What says how to read the rest."""

    format: int = FORMAT


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneJson:
    """A whole listing. Of a scene that somebody else made, only the layers are sure to be there."""

    layers: Annotated[list[LayerEntry], Field(min_length=1, max_length=MAX_LAYERS)]
    model: Text = ""
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    settings: dict[str, JsonValue] = dataclasses.field(default_factory=dict)
    size: tuple[Side, Side] | None = None
    """Height and width."""
    whole: Annotated[Name | None, Field(alias="global")] = None
    composite: Name | None = None
    context_size: tuple[Side, Side] | None = None
    latents: Name | None = None


def read_scene_json(folder: Path) -> SceneJson:
    """The listing of a scene folder; every file that it names lies in the folder.

    Raises `FileNotFoundError` if there is none, `SchemaError` with the key of what is wrong.
    """
    path = folder / SCENE_FILE
    if not path.exists():
        raise FileNotFoundError(f"{folder} is no scene folder: it has no {SCENE_FILE}")
    try:
        inside(folder, SCENE_FILE)
    except ValueError as error:
        raise SchemaError(str(error)) from None
    if (found := read_json(path, Format, unknown="ignore").format) != FORMAT:
        raise SchemaError(f"{path} has format {found}, this version reads format {FORMAT}")
    scene = read_json(path, SceneJson, unknown="ignore")
    from_tree({key: scene.settings[key] for key in vars(Settings()) if key in scene.settings}, Settings, f"{path}: settings")
    if scene.size is not None:
        if len(scene.layers) * math.prod(scene.size) > MAX_PIXELS:
            size = f"{scene.size[1]}x{scene.size[0]}"
            raise SchemaError(f"{path}: {len(scene.layers)} layers of {size} are more than {MAX_PIXELS // 10**6} million pixels together")
        if scene.context_size is not None and any(side % part for side, part in zip(scene.size, scene.context_size, strict=True)):
            raise SchemaError(f"{path}: context_size {list(scene.context_size)} does not divide size {list(scene.size)}")
    named = [("global", scene.whole), ("composite", scene.composite), ("latents", scene.latents)]
    for i, entry in enumerate(scene.layers):
        named += [(f"layers.{i}.file", entry.file), (f"layers.{i}.context", entry.context)]
    for key, name in named:
        if name is not None:
            try:
                inside(folder, name, hard_links=False)
            except ValueError as error:
                raise SchemaError(f"{path}: {key}: {error}") from None
    return scene
