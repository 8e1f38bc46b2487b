"""Stages that know the truth of a composed scene: what the algorithm is tested with, apart from any network's faults."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from data.peel.candidates import iou
from data.peel.hole import smooth_fill
from data.peel.matte import UNKNOWN, closed_form
from data.peel.stages import Detection, Stages, Wanted
from data.scenes import Scene
from dreamlayer_jax.compositing import composite, from_uint8, to_uint8, visibility


@dataclasses.dataclass(eq=False)
class Oracle:
    """The truth of one picture, and which of its objects are still in it.

    rgba: (k, h, w, 4) uint8, far to near. prompts: k.
    """

    rgba: np.ndarray
    prompts: Sequence[str]
    taken: np.ndarray | None = None
    """(k, h, w), the light that each takes from what lies behind it, as in `data.scenes.Scene`; None for a scene without shadows."""

    def __post_init__(self) -> None:
        self.remaining = list(range(1, len(self.rgba)))
        self._filled: dict[tuple[bytes, str], int] = {}

    @property
    def wanted(self) -> Wanted:
        """The scene's prompts, in an order that says nothing of depth."""
        return Wanted(background=self.prompts[0], foregrounds=tuple(sorted(self.prompts[1:])))

    def picture(self) -> np.ndarray:
        """Eq. 1 of the lit layers that remain, uint8 (h, w, 3)."""
        layers = from_uint8(self.rgba[[0, *self.remaining]])
        if self.taken is not None:
            kept = 1 - self.taken[[0, *self.remaining]][..., None]
            lit = np.stack([np.prod(kept[i + 1 :], axis=0) for i in range(len(layers))])
            layers = np.concatenate([layers[..., :3] * lit, layers[..., 3:]], axis=-1)
        return to_uint8(composite(layers))

    def visible(self) -> np.ndarray:
        """How much of each remaining layer is seen, background first, (1 + remaining, h, w)."""
        return visibility(from_uint8(self.rgba[[0, *self.remaining], ..., 3]))

    def detect(self, picture: np.ndarray, prompts: Sequence[str]) -> list[Detection]:
        """The tight boxes of what is seen of the remaining objects."""
        del picture
        found = []
        for number, seen in zip(self.remaining, self.visible()[1:], strict=True):
            if self.prompts[number] in prompts and (seen > 0.5).any():
                found.append(Detection(prompt=list(prompts).index(self.prompts[number]), box=_box(seen > 0.5), score=1.0))
        return found

    def segment(self, picture: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What is seen of the remaining object whose box fits best."""
        del picture
        seen = self.visible()[1:] > 0.5
        own = [_box(mask) if mask.any() else (0, 0, 0, 0) for mask in seen]
        best = [int(np.argmax([iou(box, other) for other in own])) for box in boxes]
        return seen[best], np.ones(len(boxes))

    def depth(self, picture: np.ndarray) -> np.ndarray:
        """Layer number over k where it is seen; the background a ramp below 1/k."""
        del picture
        k, (h, w) = len(self.rgba), self.rgba.shape[1:3]
        near = np.repeat(np.linspace(0, 0.9 / k, h, dtype=np.float32)[:, None], w, axis=1)
        for number in range(1, k):
            near[self.rgba[number, ..., 3] > 127] = number / k
        return near

    def matte(self, picture: np.ndarray, trimap: np.ndarray) -> np.ndarray:
        """The true alpha of the remaining object that fits the trimap's inside best."""
        del picture
        alphas = from_uint8(self.rgba[self.remaining, ..., 3])
        inside = trimap == 255
        fits = [float((alpha * inside).sum() / (inside | ((alpha > 0.5) & (trimap != UNKNOWN))).sum()) for alpha in alphas]
        best = int(np.argmax(fits))
        return alphas[best] * (visibility(from_uint8(self.rgba[self.remaining, ..., 3]))[best] > 0)

    def fill(self, picture: np.ndarray, hole: np.ndarray, prompt: str, negative: str, seed: int) -> np.ndarray:
        """The truth without the object called `negative`, and without its light; a repeated call takes nothing more away."""
        del picture, prompt, seed
        self.take(hole, negative)
        return self.picture()

    def take(self, hole: np.ndarray, negative: str) -> None:
        """Notes that the object called `negative` that lies in the hole is gone."""
        key = (hole.tobytes(), negative)
        if key not in self._filled:
            called = [n for n in self.remaining if self.prompts[n] == negative]
            self._filled[key] = max(called, key=lambda n: float((hole * self.rgba[n, ..., 3]).sum() / self.rgba[n, ..., 3].sum()))
            self.remaining.remove(self._filled[key])

    def stages(self, *, networks: bool = True) -> Stages:
        """All stages true; or, without what stands for networks, the closed-form matte and the membrane."""

        def membrane(picture: np.ndarray, hole: np.ndarray, prompt: str, negative: str, seed: int) -> np.ndarray:
            self.take(hole, negative)
            return smooth_fill(picture, hole, prompt, negative, seed)

        return Stages(
            detect=self.detect,
            segment=self.segment,
            depth=self.depth,
            matte=self.matte if networks else closed_form,
            fill=self.fill if networks else membrane,
            described="oracle" if networks else "oracle, closed-form matte, membrane",
        )


class SceneOracles:
    """The stages of a run over composed scenes: each picture's own oracle, known by its pixels."""

    described = "oracle"

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[np.ndarray, Sequence[str]]] = {}

    def write(self, scene: Scene, folder: Path) -> str:
        """Puts the scene's picture, without shadows, and what it shows into a folder of pictures; the picture's name."""
        oracle = Oracle(scene.rgba, scene.prompts)
        name, wanted = f"{scene.seed}.png", oracle.wanted
        self._known[oracle.picture().tobytes()] = (scene.rgba, scene.prompts)
        Image.fromarray(oracle.picture()).save(folder / name)
        (folder / name).with_suffix(".json").write_text(json.dumps(dataclasses.asdict(wanted)), encoding="utf-8")
        return name

    def __call__(self, picture: np.ndarray, wanted: Wanted) -> Stages:
        """The oracle of the picture. Raises `KeyError` for any other."""
        del wanted
        return Oracle(*self._known[picture.tobytes()]).stages()


def _box(mask: np.ndarray) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
