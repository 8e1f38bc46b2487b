"""The edits, and the scene that a list of them asks for (paper §4.4: move, resize, flip, remove, reorder; beyond it: replace, add).

Layers are named by their number in the scene that is edited: 0 is the background, 1 the farthest foreground, as in the scene's file names.
A number keeps its meaning whatever comes before it in the list.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from dreamlayer_jax.editing.placement import IN_PLACE, Placement
from dreamlayer_jax.request import RequestError
from dreamlayer_jax.scene import Scene


@dataclasses.dataclass(frozen=True)
class Move:
    """Shifts a foreground by fractions of the canvas: dx to the right, dy down."""

    layer: int
    dx: float = 0.0
    dy: float = 0.0


@dataclasses.dataclass(frozen=True)
class Resize:
    """Scales a foreground about the middle of its lower edge, so that it stays on its ground."""

    layer: int
    scale: float


@dataclasses.dataclass(frozen=True)
class Flip:
    """Mirrors a foreground left to right, in place."""

    layer: int


@dataclasses.dataclass(frozen=True)
class Remove:
    """Takes a foreground out."""

    layer: int


@dataclasses.dataclass(frozen=True)
class Order:
    """The remaining foregrounds, far to near."""

    layers: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Replace:
    """Makes a layer anew from a prompt; the background too (0)."""

    layer: int
    prompt: str


@dataclasses.dataclass(frozen=True)
class Add:
    """A new foreground, nearest of all."""

    prompt: str


Edit = Move | Resize | Flip | Remove | Order | Replace | Add


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedLayer:
    """A layer of the edited scene: where it comes from, or that it is to be made."""

    prompt: str
    source: int | None
    """Number in the old scene; None for a layer to be generated."""
    placement: Placement = IN_PLACE


def plan(image: Scene, edits: Sequence[Edit]) -> tuple[PlannedLayer, ...]:
    """The edited scene's layers, background first.

    Raises:
        RequestError: an edit names a layer that is not there (any more), or a value that means nothing; the message lists what is there.
    """
    if not edits:
        raise RequestError("no edit was given; give at least one, such as Move(1, dx=0.2) or --move 1:0.2,0")
    layers = {i: PlannedLayer(prompt=layer.prompt, source=i) for i, layer in enumerate(image.layers)}
    order = list(range(1, len(image.layers)))
    for edit in edits:
        _check(edit, order)
        match edit:
            case Remove(number):
                order.remove(number)
            case Order(numbers):
                order = list(numbers)
            case Replace(number, prompt):
                layers[number] = PlannedLayer(prompt=prompt, source=None)
            case Add(prompt):
                number = max(layers) + 1
                layers[number] = PlannedLayer(prompt=prompt, source=None)
                order.append(number)
            case Move() | Resize() | Flip():
                layers[edit.layer] = _placed(image, layers[edit.layer], edit)
    if not order:
        raise RequestError("no foreground would be left; keep at least one layer besides the background")
    return (layers[0], *(layers[number] for number in order))


def _placed(image: Scene, layer: PlannedLayer, edit: Move | Resize | Flip) -> PlannedLayer:
    if layer.source is None:
        raise RequestError(f"layer {edit.layer} is made anew in the same edit; {type(edit).__name__.lower()} it in a second one")
    height, width = image.size
    left, _, right, bottom = layer.placement.box(image.layers[layer.source].rgba_straight[..., 3])
    match edit:
        case Move(_, dx, dy):
            change = Placement(shift_x=dx * width, shift_y=dy * height)
        case Resize(_, scale):
            change = Placement(scale=scale, shift_x=(1 - scale) * (left + right) / 2, shift_y=(1 - scale) * bottom)
        case Flip():
            change = Placement(flipped=True, shift_x=left + right - width)
    return dataclasses.replace(layer, placement=layer.placement.then(change, width))


def _check(edit: Edit, order: list[int]) -> None:
    there = f"the foregrounds are {', '.join(map(str, order)) or 'none'}"
    match edit:
        case Add(prompt) | Replace(_, prompt) if not prompt.strip():
            raise RequestError(f"{type(edit).__name__.lower()} needs a prompt; say what the layer shows")
        case Replace(number) if number != 0 and number not in order:
            raise RequestError(f"replace names layer {number}; {there}, and 0 is the background")
        case Move(number) | Resize(number) | Flip(number) | Remove(number) if number not in order:
            raise RequestError(f"{type(edit).__name__.lower()} names layer {number}; {there}")
        case Order(numbers) if sorted(set(numbers)) != sorted(numbers) or not set(numbers) <= set(order):
            raise RequestError(f"order is {', '.join(map(str, numbers))}; {there}: give each once, far to near")
        case Order(numbers) if len(numbers) < len(order):
            left_out = ", ".join(str(number) for number in order if number not in numbers)
            raise RequestError(f"order leaves out {left_out}; {there}: give each once, or remove what is to go")
        case Move(_, dx, dy) if not (math.isfinite(dx) and math.isfinite(dy) and abs(dx) <= 1 and abs(dy) <= 1):
            raise RequestError(f"move is {dx},{dy}; give fractions of the canvas from -1 to 1")
        case Resize(_, scale) if not (math.isfinite(scale) and 0.05 <= scale <= 20):
            raise RequestError(f"resize is {scale}; give a factor from 0.05 to 20")
