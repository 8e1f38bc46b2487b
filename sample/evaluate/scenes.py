"""The scenes that are measured: held-out prompt sets with fixed seeds, and what was made, or is true, of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Float

from data.source import Example, SceneSource
from data.world import emoji_world
from dreamlayer_jax.compositing import composite, from_uint8, over_grey

FIRST_SEED = 900_000  # of the held-out split, and apart from the seeds that training watches
WHOLE = ("global", "blend", "composite")
ROLES = ("background", "foreground", *WHOLE)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ScenePictures:
    """One scene, in uint8: layers (k, h, w, 4) straight; the global picture and the IRH composite, if there is one, (h, w, 3).

    k names and prompts, background first.
    """

    rgba: np.ndarray
    global_rgb: np.ndarray
    composite_rgb: np.ndarray | None = None
    names: tuple[str, ...]
    prompts: tuple[str, ...]
    seed: int

    @cached_property
    def blend_01(self) -> Float[np.ndarray, "h w 3"]:
        """Eq. 1 of the layers, in [0, 1]."""
        return composite(from_uint8(self.rgba))

    def pictures(self, role: str) -> Float[np.ndarray, "n h w 3"]:
        """The scene's pictures of one of `ROLES`, in [0, 1], foregrounds on mid-grey; none of a composite that was not made."""
        if role == "background":
            return over_grey(from_uint8(self.rgba[:1]))
        if role == "foreground":
            return over_grey(from_uint8(self.rgba[1:]))
        if role == "global":
            return from_uint8(self.global_rgb)[None]
        if role == "blend":
            return self.blend_01[None]
        if role == "composite":
            return np.zeros((0, *self.global_rgb.shape), np.float32) if self.composite_rgb is None else from_uint8(self.composite_rgb)[None]
        raise ValueError(f"a scene has no {role!r}; its roles are {', '.join(ROLES)}")

    def captions(self, role: str) -> list[str]:
        """The prompt of each picture of `pictures`; a whole picture's is its layers' prompts, one after the other."""
        if role in WHOLE:
            return [", ".join(self.prompts)] * len(self.pictures(role))
        return list(self.prompts[:1] if role == "background" else self.prompts[1:])


def held_out_scenes(count: int, first_seed: int = FIRST_SEED) -> SceneSource:
    """The fixed evaluation scenes, or those of other seeds: k = 2, 3, 4 in turn."""
    return SceneSource(world=emoji_world(), seeds=range(first_seed, first_seed + count), split="held_out")


def true_pictures(example: Example) -> ScenePictures:
    """A composed scene, as if it had been generated; it has no composite."""
    fields = {name: example[name] for name in ("rgba", "names", "prompts", "seed")}
    return ScenePictures(global_rgb=example["global"], **fields)


def batches_of_equal_k(examples: Sequence[Example], size: int) -> Iterator[list[Example]]:
    """Runs of at most `size` examples that have the same number of layers, fewest layers first."""
    for k in sorted({len(example["names"]) for example in examples}):
        equal = [example for example in examples if len(example["names"]) == k]
        yield from (equal[n : n + size] for n in range(0, len(equal), size))
