"""A scene as a stack of editor layers: what the PSD and the OpenRaster file have in common.

Each layer is cut to the box of its visible pixels. With `shadow`, two more layers on top of everything turn the stack, which shows the
blend B, into the harmonised composite C. In each colour channel,

    multiply   M = min(1, C / B)                 where C is darker:    B M = C
    screen     S = max(0, (C - B) / (1 - B))     where C is brighter:  1 - (1 - B)(1 - S) = C

and the identity elsewhere, so the two do not meet. Multiply alone cannot brighten (reflected light, and foregrounds that harmonisation
changed a little). They lie on top, not under the foregrounds, because shadows fall on foregrounds too. M and S in bytes are off by half a
byte at most and are then scaled by B and 1 - B, which are at most 1: so is C.
"""

from __future__ import annotations

import dataclasses
import enum
import re

import numpy as np
from jaxtyping import UInt8

from dreamlayer_jax.compositing import from_uint8, to_uint8
from dreamlayer_jax.request import RequestError
from dreamlayer_jax.scene import Scene

MAX_NAME = 120
NO_COMPOSITE = "the scene has no harmonised composite, so there is no shadow to put in a layer; ask without it"


class Mode(enum.Enum):
    """How a layer meets what lies under it."""

    NORMAL = "normal"
    MULTIPLY = "multiply"
    SCREEN = "screen"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class EditorLayer:
    """Pixels at a place on the canvas."""

    name: str
    mode: Mode
    rgba_straight: UInt8[np.ndarray, "h w 4"]
    """At least one pixel, even of a layer that shows nothing."""
    left: int
    top: int


def editor_layers(image: Scene, *, shadow: bool = False) -> tuple[EditorLayer, ...]:
    """The stack, far to near. Raises `RequestError` if `shadow` is asked for and there is no `composite_rgb`."""
    layers = [_cut(layer_name(layer.prompt), Mode.NORMAL, layer.rgba_straight) for layer in image.layers]
    return (*layers, *(_light(image) if shadow else ()))


def merged(image: Scene, *, shadow: bool = False) -> UInt8[np.ndarray, "h w 3"]:
    """What a viewer that knows no layers shows, which is what the stack shows: the blend, or, with `shadow`, the composite.

    Raises `RequestError` as `editor_layers`.
    """
    if shadow and image.composite_rgb is None:
        raise RequestError(NO_COMPOSITE)
    return image.composite_rgb if shadow else image.blend


def layer_name(prompt: str) -> str:
    """A prompt as one printable line of at most 120 characters, in any script."""
    line = re.sub(r"\s+", " ", "".join(c if c.isprintable() else " " for c in prompt)).strip()
    return line if len(line) <= MAX_NAME else line[: MAX_NAME - 1].rstrip() + "…"


def _light(image: Scene) -> tuple[EditorLayer, EditorLayer]:
    if image.composite_rgb is None:
        raise RequestError(NO_COMPOSITE)
    b, c = from_uint8(image.blend), from_uint8(image.composite_rgb)
    multiply = np.divide(c, b, out=np.ones_like(b), where=c < b)
    screen = np.divide(c - b, 1 - b, out=np.zeros_like(b), where=c > b)
    return (
        _cut("shadow", Mode.MULTIPLY, _where_changed(to_uint8(multiply), 255)),
        _cut("light", Mode.SCREEN, _where_changed(to_uint8(screen), 0)),
    )


def _where_changed(rgb: np.ndarray, identity: int) -> np.ndarray:
    """Opaque where any channel does something, clear elsewhere."""
    alpha = np.where((rgb != identity).any(axis=-1, keepdims=True), 255, 0)
    return np.concatenate([rgb, alpha.astype(np.uint8)], axis=-1)


def _cut(name: str, mode: Mode, rgba_straight: np.ndarray) -> EditorLayer:
    rows, columns = (np.flatnonzero(rgba_straight[..., 3].any(axis=axis)) for axis in (1, 0))
    if rows.size == 0:
        rows = columns = np.zeros(1, int)
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return EditorLayer(name=name, mode=mode, rgba_straight=rgba_straight[box], left=int(columns[0]), top=int(rows[0]))
