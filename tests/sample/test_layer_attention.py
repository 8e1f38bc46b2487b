"""--layer-attention and --compose: which of several files is loaded for what is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import save_file

from dreamlayer_jax.cli.layer_attention import choose, file_and_kind
from dreamlayer_jax.request import RequestError

KINDS = ("transparent_attn", "joint", "fg2bg", "bg2fg")


@pytest.fixture(scope="module")
def files(plain_model, layer_attention_file, tmp_path_factory) -> Callable[..., list[str]]:
    """The paths of files of these kinds."""
    folder = tmp_path_factory.mktemp("files")
    for kind in KINDS:
        save_file(layer_attention_file(plain_model.config.unet, kind), folder / f"layer_sd15_{kind}.safetensors")
    return lambda *kinds: [str(folder / f"layer_sd15_{kind}.safetensors") for kind in kinds]


ALL_OF_TWO, ALL_OF_THREE = {0, 1}, {0, 1, 2}


@pytest.mark.parametrize(
    ("given", "compose", "layers", "to_make", "chosen"),
    [
        (KINDS, None, 3, ALL_OF_THREE, "bg2fg"),
        (KINDS, None, 2, ALL_OF_TWO, "bg2fg"),
        (KINDS, None, 3, {2}, "bg2fg"),
        (KINDS, None, 3, {0}, "fg2bg"),
        (KINDS, "chain", 3, {0}, "fg2bg"),
        (KINDS, "joint", 2, ALL_OF_TWO, "joint"),
        (KINDS, "independent", 3, ALL_OF_THREE, "transparent_attn"),
        (("transparent_attn", "joint"), None, 2, ALL_OF_TWO, "joint"),
        (("transparent_attn", "joint"), None, 3, ALL_OF_THREE, "transparent_attn"),
        (("fg2bg",), None, 2, ALL_OF_TWO, "fg2bg"),  # the model says what it lacks
        (("bg2fg",), "chain", 2, set(), "bg2fg"),
    ],
)
def test_what_is_asked_for_decides(files, given, compose, layers, to_make, chosen) -> None:
    assert choose(files(*given), compose, layers, to_make) == (Path(files(chosen)[0]), chosen)


def test_what_no_file_does_is_refused(files) -> None:
    assert choose([], None, 2, ALL_OF_TWO) is None
    with pytest.raises(RequestError, match="--compose chain is how LayerDiffusion's files make layers; give one with --layer-attention"):
        choose([], "chain", 2, ALL_OF_TWO)
    with pytest.raises(RequestError, match="--compose chain needs LayerDiffusion's bg2fg or fg2bg; given is joint"):
        choose(files("joint"), "chain", 2, ALL_OF_TWO)
    with pytest.raises(RequestError, match="are both joint; give one of them"):
        choose(files("joint", "joint"), None, 2, ALL_OF_TWO)


def test_the_kind_may_follow_the_file() -> None:
    assert file_and_kind("a/b.safetensors:fg2bg") == (Path("a/b.safetensors"), "fg2bg")
    assert file_and_kind("C:b.safetensors") == (Path("C:b.safetensors"), None)
    assert file_and_kind("~/b.safetensors")[0].is_absolute()
