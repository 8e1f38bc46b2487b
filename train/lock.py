"""One training at a time in a workdir."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from train.processes import is_first


@contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Holds the workdir for this run, by its first process; a killed process lets go of it. OSError where another holds it."""
    if not is_first():
        yield
        return
    workdir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(workdir / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise OSError(f"another training is running in {workdir}: wait for it, stop it, or use another workdir") from None
    try:
        yield
    finally:
        lock.release()
