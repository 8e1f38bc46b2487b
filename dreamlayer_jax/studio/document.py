"""What a tab works on: a scene, and the edits since it was made.

Edits are kept as a list on the scene they began with, so that a layer that is moved ten times, or out of the picture and back, is resampled
once. Where something was made anew the result becomes the scene that further edits begin with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from jaxtyping import UInt8

from dreamlayer_jax.editing.edits import Add, Edit, Order, PlannedLayer, Remove, Replace, plan
from dreamlayer_jax.editing.placement import cut_then_shown
from dreamlayer_jax.layered_image import LayeredImage
from dreamlayer_jax.request import RequestError
from dreamlayer_jax.scene import Layer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look:
    """How a layer is shown."""

    name: str
    opacity: float = 1.0
    visible: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Document:
    """One state that undo comes back to."""

    base: LayeredImage
    edits: tuple[Edit, ...] = ()
    looks: tuple[Look, ...]
    """One a layer, background first."""
    image: LayeredImage | None = None
    """The scene with the edits, harmonised as it is shown; None until that is made."""

    @classmethod
    def of(cls, image: LayeredImage) -> Document:
        looks = tuple(Look(name=layer.prompt) for layer in image.layers)
        return cls(base=image, looks=looks, image=image)

    @cached_property
    def planned(self) -> tuple[PlannedLayer, ...]:
        """The layers as they are to be."""
        if self.edits:
            return plan(self.base, self.edits)
        return tuple(PlannedLayer(prompt=layer.prompt, source=i) for i, layer in enumerate(self.base.layers))

    @cached_property
    def pixels(self) -> tuple[UInt8[np.ndarray, "h w 4"] | None, ...]:
        """Each layer where it now is, before anything is harmonised; None for one that is still to be made."""
        if self.image is not None:
            return tuple(layer.rgba_straight for layer in self.image.layers)
        return tuple(self._placed(layer) for layer in self.planned)

    def _placed(self, layer: PlannedLayer) -> np.ndarray | None:
        if layer.source is None:
            return None
        rgba = self.base.layers[layer.source].rgba_straight
        return rgba if layer.placement.is_identity else layer.placement.move(rgba)

    @property
    def makes_anew(self) -> bool:
        """Whether the edits ask the model for pixels."""
        return any(layer.source is None for layer in self.planned)

    def with_edits(self, edits: Sequence[Edit]) -> Document:
        """After more edits, whose numbers are those of the layers as they are shown now. Raises `RequestError` as `plan` does."""
        for edit in edits:  # as they name what is shown now, whatever it was called in `base`
            self._check(edit)
        begun = self if self.image is None or not self._begins_anew else Document(base=self.image, looks=self.looks, image=self.image)
        numbers = _numbers(begun)
        new = tuple(_renumbered(edit, numbers) for edit in edits)
        changed = dataclasses.replace(begun, edits=(*begun.edits, *new), image=None)
        known = dict(zip(numbers, self.looks, strict=True))
        for edit in new:
            if isinstance(edit, Replace):
                known[edit.layer] = dataclasses.replace(known[edit.layer], name=edit.prompt)
        looks = tuple(known.get(number, Look(name=layer.prompt)) for number, layer in zip(_numbers(changed), changed.planned, strict=True))
        return dataclasses.replace(changed, looks=looks)

    @property
    def _begins_anew(self) -> bool:
        def made(layer: PlannedLayer) -> bool:
            if layer.source is None:
                return True
            alpha = self.base.layers[layer.source].rgba_straight[..., 3]
            return not layer.placement.is_identity and cut_then_shown(alpha, layer.placement) is not None

        return any(made(layer) for layer in self.planned)

    def _check(self, edit: Edit) -> None:
        named = edit.layers if isinstance(edit, Order) else () if isinstance(edit, Add) else (edit.layer,)
        for number in named:
            if not 0 <= number < len(self.looks) or (number == 0 and not isinstance(edit, Replace)):
                raise RequestError(f"there is no foreground {number}; the foregrounds are 1 to {len(self.looks) - 1}")
        if self.makes_anew and self.image is None:
            raise RequestError("a layer is still being made; wait for it, or stop it, before the next edit")

    def harmonized(self, edit: Callable[..., LayeredImage]) -> Document:
        """The same with its picture; `edit(image, edits)` is the model's, and is called again where layers are faint or hidden."""
        image = edit(self.base, self.edits or _none_but_asked(self.base))
        if not self.shown_whole:
            image = dataclasses.replace(image, composite_rgb=self._composite_as_shown(image, edit))
        return dataclasses.replace(self, image=image)

    @property
    def shown_whole(self) -> bool:
        return all(look.visible and look.opacity == 1 for look in self.looks[1:])

    def _composite_as_shown(self, image: LayeredImage, edit: Callable[..., LayeredImage]) -> np.ndarray:
        shown = as_shown(image, self.looks)
        if len(shown.layers) == 1:
            return shown.blend
        order = Order(tuple(range(1, len(shown.layers))))
        return edit(shown, [order]).composite_rgb


def as_shown(image: LayeredImage, looks: Sequence[Look], *, named: bool = False) -> LayeredImage:
    """The scene as the page shows it: hidden foregrounds left out, opacity in the alpha; `named`, under the page's names.

    The kept latents go: they are of the whole scene.
    """
    shown = [0, *(i for i in range(1, len(image.layers)) if looks[i].visible)]
    if not named and len(shown) == len(image.layers) and all(look.opacity == 1 for look in looks[1:]):
        return image

    def seen(i: int) -> Layer:
        layer, look = image.layers[i], looks[i]
        rgba = layer.rgba_straight
        if i and look.opacity < 1:
            rgba = rgba.copy()
            rgba[..., 3] = np.round(rgba[..., 3] * look.opacity)
        return dataclasses.replace(layer, rgba_straight=rgba, prompt=look.name if named else layer.prompt)

    maps = image.context_maps[[i - 1 for i in shown[1:]]]
    return dataclasses.replace(image, layers=tuple(seen(i) for i in shown), context_maps=maps, kept=None)


def _none_but_asked(image: LayeredImage) -> tuple[Edit, ...]:
    """An edit that changes nothing, for a scene that is only to be harmonised."""
    return (Order(tuple(range(1, len(image.layers)))),)


def _numbers(document: Document) -> list[int]:
    """What the layers that are shown are called in the base's own numbering, added ones as `plan` numbers them."""
    count = len(document.base.layers)
    order = list(range(1, count))
    for edit in document.edits:
        if isinstance(edit, Order):
            order = list(edit.layers)
        elif isinstance(edit, Add):
            order.append(count)
            count += 1
        elif isinstance(edit, Remove):
            order.remove(edit.layer)
    return [0, *order]


def _renumbered(edit: Edit, numbers: Sequence[int]) -> Edit:
    if isinstance(edit, Add):
        return edit
    if isinstance(edit, Order):
        return Order(tuple(numbers[i] for i in edit.layers))
    return dataclasses.replace(edit, layer=numbers[edit.layer])
