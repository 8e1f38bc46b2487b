"""The stages that take a picture apart, as interfaces. All take and give NumPy, so networks, remote services and oracles are alike.

Pictures are uint8 (h, w, 3), sRGB. Boxes are float (x0, y0, x1, y1) in pixels, ends exclusive.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a picture shows, in words."""

    background: str
    foregrounds: tuple[str, ...]
    """In no order: depth decides. Two of a thing are two entries."""
    names: tuple[str, ...] = ()
    """What a detector looks for in the place of each foreground's prompt, such as its noun; the prompts where left out."""

    def __post_init__(self) -> None:
        if not self.background.strip() or not self.foregrounds or not all(prompt.strip() for prompt in self.foregrounds):
            raise ValueError(f"a picture needs a background prompt and at least one foreground prompt, got {self}")
        if self.names and len(self.names) != len(self.foregrounds):
            raise ValueError(f"names are one a foreground: got {len(self.names)} names for {len(self.foregrounds)} foregrounds")

    @property
    def looked_for(self) -> tuple[str, ...]:
        """What the detector is given, one a foreground."""
        return self.names or self.foregrounds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Detection:
    """A box that a detector gives to one of the prompts."""

    prompt: int
    box: tuple[float, float, float, float]
    score: float


class Detect(Protocol):
    """An open-set detector: a box for every place that one of the prompts may name."""

    def __call__(self, picture: np.ndarray, prompts: Sequence[str]) -> list[Detection]: ...


class Segment(Protocol):
    """The mask of the one thing in each box: bool (n, h, w), and how good each is, float (n,)."""

    def __call__(self, picture: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...


class Depth(Protocol):
    """Nearness, float32 (h, w): larger is nearer, in any unit."""

    def __call__(self, picture: np.ndarray) -> np.ndarray: ...


class Matte(Protocol):
    """Alpha, float32 (h, w) in [0, 1], from a trimap, uint8 (h, w): 0 outside, 255 inside, 128 unknown."""

    def __call__(self, picture: np.ndarray, trimap: np.ndarray) -> np.ndarray: ...


class Fill(Protocol):
    """The picture with something else in the hole, bool (h, w). Outside it, what comes back is not used."""

    def __call__(self, picture: np.ndarray, hole: np.ndarray, prompt: str, negative: str, seed: int) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stages:
    """One set of stages. `described` says which, for the settings' digest: model ids with revisions, and versions."""

    detect: Detect
    segment: Segment
    depth: Depth
    matte: Matte
    fill: Fill
    described: str
