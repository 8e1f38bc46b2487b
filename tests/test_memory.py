"""The estimate that comes before a run, and what is said where it is too much."""

from __future__ import annotations

import pytest

from dreamlayer_jax import memory
from dreamlayer_jax.config import pocket, sd15
from dreamlayer_jax.memory import check_memory, free_bytes, needed_bytes
from dreamlayer_jax.request import RequestError

GIB = 2**30


def test_what_grows_the_estimate() -> None:
    base = needed_bytes(sd15(), 3, (512, 512), 1, 1, 50)
    assert 2 * GIB < base < 8 * GIB
    for more in (
        needed_bytes(sd15(), 4, (512, 512), 1, 1, 50),
        needed_bytes(sd15(), 3, (1024, 512), 1, 1, 50),
        needed_bytes(sd15(), 3, (512, 512), 4, 4, 50),
        needed_bytes(sd15(), 3, (512, 512), 1000, 1, 50),
        needed_bytes(sd15(), 3, (512, 512), 1, 1, 1000),
    ):
        assert more > base


@pytest.mark.parametrize(
    ("size", "scenes", "said"),
    [
        ((4096, 4096), 1, r"give --height (\d+) --width \1, which fits, or try all the same with --any-size"),
        ((16384, 16384), 1, r"give --height \d+ --width \d+, which fits"),
        ((64, 64), 4294967296, r"give --count \d+ --batch \d+, which fits"),
    ],
)
def test_too_much_is_one_line_with_what_fits(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], scenes: int, said: str) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 8 * GIB)
    with pytest.raises(RequestError, match=said) as refused:
        check_memory(pocket(), 3, size, scenes, min(scenes, 16), 50)
    assert "\n" not in str(refused.value)
    assert "8.0 GiB are free" in str(refused.value)


def test_what_is_said_to_fit_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 8 * GIB)
    with pytest.raises(RequestError) as refused:
        check_memory(sd15(), 2, (4096, 2048), 1, 1, 20)
    words = str(refused.value).split()
    height, width = (int(words[words.index(option) + 1].rstrip(",")) for option in ("--height", "--width"))
    assert height % sd15().side_multiple == width % sd15().side_multiple == 0
    check_memory(sd15(), 2, (height, width), 1, 1, 20)


def test_no_size_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 1000)
    with pytest.raises(RequestError, match="no size of this shape fits: take a smaller model"):
        check_memory(pocket(), 3, (64, 64), 1, 1, 2)


def test_nobody_says_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < free_bytes() < 2**50
    monkeypatch.setattr(memory, "free_bytes", lambda: None)
    check_memory(pocket(), 3, (16384, 16384), 1, 1, 1000)
