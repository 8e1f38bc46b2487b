"""Which of LayerDiffusion's files makes what is asked for: several can be named, one is loaded."""

from __future__ import annotations

from collections.abc import Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING

from dreamlayer_jax.request import RequestError

if TYPE_CHECKING:
    from dreamlayer_jax.config import LayerAttentionKind
    from dreamlayer_jax.tasks.compose import Compose


def file_and_kind(text: str) -> tuple[Path, LayerAttentionKind | None]:
    """FILE or FILE:KIND of --layer-attention."""
    from dreamlayer_jax.config import FRAMES

    file, _, kind = text.rpartition(":")
    return (Path(file).expanduser(), kind) if file and kind in FRAMES else (Path(text).expanduser(), None)


def choose(given: Sequence[str], compose: Compose | None, layers: int, to_make: Set[int]) -> tuple[Path, LayerAttentionKind | None] | None:
    """The file for a scene of `layers` layers of which `to_make` are to be made; None where none is given. Reads headers only.

    A background for foregrounds that are there is fg2bg's. Else it is bg2fg where there is one, joint for a single foreground, and
    transparent_attn; `compose` decides otherwise.

    Raises:
        RequestError: no file is given that composes so, or two are of one kind.
        WeightsError: a file is none of LayerDiffusion's, or could be fg2bg or bg2fg.
    """
    from dreamlayer_jax.tasks.compose import BY_KIND
    from dreamlayer_jax.weights.formats.layer_attention import kind_of_file

    if not given:
        if compose is not None:
            raise RequestError(f"--compose {compose} is how LayerDiffusion's files make layers; give one with --layer-attention")
        return None
    files: dict[LayerAttentionKind, Path] = {}
    for file, told in map(file_and_kind, given):
        kind = kind_of_file(file, told)
        if kind in files:
            raise RequestError(f"{files[kind]} and {file} are both {kind}; give one of them")
        files[kind] = file
    order: list[LayerAttentionKind] = ["bg2fg", *(["joint"] if layers == 2 else []), "transparent_attn", "joint", "fg2bg"]
    order = ["fg2bg", *order] if to_make == {0} else order
    usable = [kind for kind in order if kind in files and compose in (None, BY_KIND[kind])]
    if not usable:
        needed = " or ".join(kind for kind, way in BY_KIND.items() if way == compose)
        raise RequestError(f"--compose {compose} needs LayerDiffusion's {needed}; given is {', '.join(files)}")
    return files[usable[0]], usable[0]
