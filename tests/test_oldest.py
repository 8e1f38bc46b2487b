"""The floors that `make test-oldest` pins: no requirement is without one. tests/test_wheel.py compares them with the wheel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.oldest import oldest


@pytest.mark.parametrize(
    ("lines", "message"),
    [("jax>=0.10\n    flax", "requires 'flax'; name the oldest release"), ("jax>=0.10\n    jax>=0.11", "jax from 0.10 and from 0.11")],
)
def test_a_floor_that_is_missing_or_said_twice_is_named(lines: str, message: str, tmp_path: Path) -> None:
    setup = tmp_path / "setup.cfg"
    setup.write_text(f"[options]\ninstall_requires =\n    {lines}\n[options.extras_require]\ncuda =\n    jax[cuda13]\n")
    with pytest.raises(ValueError, match=message):
        oldest(setup)
