"""Seeded inputs, many of them, each used as a person's would be. `make fuzz` tries 100,000 (FUZZ=100000) and prints the tally.

What may come of an input is a result or a refusal in one line. Counted as faults: any other exception, more than ten seconds, a process
started, a file opened outside the input's folder and the installation, and, over the whole campaign, more than 2 GiB of memory. Input
number n of a kind is the same in every run: its number reproduces it.
"""

from __future__ import annotations

import json
import logging
import os
import random
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

INPUTS = int(os.environ.get("FUZZ", "1500"))
SECONDS = 10
MEMORY = 2 << 30
STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "pty.spawn")
HUB_CACHE = os.path.expanduser("~/.cache/huggingface")
SYSTEM = ("/proc/", "/sys/", "/dev/null", "/dev/urandom", "/etc/", "/usr/")

log = logging.getLogger(__name__)


class HangError(BaseException):
    """An input that takes too long; no `except Exception` on the way hides it."""


class Watch:
    """What the interpreter is asked to do while an input is used. Audit hooks stay for ever, so there is one, which sleeps in between."""

    def __init__(self) -> None:
        self.seen: list[str] | None = None
        repository = Path(__file__).resolve().parents[2]
        homes = {
            sys.prefix,
            sys.base_prefix,
            HUB_CACHE,
            str(repository),
            os.environ.get("JAX_COMPILATION_CACHE_DIR", ""),
        }
        self.roots = tuple(home for home in homes if home)
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.seen is None:
            return
        if event in STARTS:
            self.seen.append(f"{event} {arguments[:1]}")
        elif event == "open" and isinstance(arguments[0], str | bytes):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if not path.startswith((*self.roots, *SYSTEM)):
                self.seen.append(f"open {path}")


WATCH = Watch()


def _hangs(_: int, frame: FrameType | None) -> None:
    raise HangError("".join(traceback.format_stack(frame)[-3:]))


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """`campaign(share, use, refusals)` calls `use(random, folder)` with `share` of all inputs, each with an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    WATCH.roots = (*WATCH.roots, str(tmp_path))
    previous = signal.signal(signal.SIGALRM, _hangs)

    def run(share: float, use: Callable[[random.Random, Path], None], refusals: tuple[type[BaseException], ...]) -> None:
        count, refused, faults = max(1, round(INPUTS * share)), 0, []
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # what other tests of this process took
        for number in range(int(os.environ.get("FUZZ_FROM", "0")), count):
            folder = tmp_path / f"{number}"
            folder.mkdir()
            WATCH.seen = []
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
            try:
                use(random.Random(f"{use.__name__} {number}"), folder)
            except refusals:
                refused += 1
            except (Exception, HangError):
                faults.append(f"input {number}:\n{traceback.format_exc(limit=-3)}")
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                seen, WATCH.seen = WATCH.seen, None
            faults += [f"input {number}: {what}" for what in seen or ()]
            _clear(folder)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        log.info("%s: %d inputs, %d refused, %d faults, %.1f GiB at most", use.__name__, count, refused, len(faults), peak / 2**30)
        assert not faults, f"{len(faults)} faults in {count} inputs:\n" + "\n".join(faults[:5])
        assert peak <= max(MEMORY, before + MEMORY // 2)

    yield run
    signal.signal(signal.SIGALRM, previous)


def _clear(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    folder.rmdir()


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Bytes flipped, cut, doubled, taken out or set to what length fields fear."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        place = chance.randrange(len(changed) or 1)
        match chance.randrange(6):
            case 0:
                changed[place : place + 1] = bytes([changed[place] ^ (1 << chance.randrange(8))]) if changed else b""
            case 1:
                del changed[place:]
            case 2:
                end = place + chance.randrange(1, 40)
                changed[place:place] = changed[place:end]
            case 3:
                del changed[place : place + chance.randrange(1, 40)]
            case 4:
                changed[place : place + 4] = chance.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\x01"))
            case 5:
                changed[place : place + 1] = chance.randbytes(1)
    return bytes(changed)


DEPTHS = (10, 150, 10_000)
ODD = (
    None, True, 0, -1, 1, 2, 3, 1.5, 7, 10**6, 2**31, 2**63, 10**400, 1e300, float("nan"), float("inf"), "", "3", "x", "..", "../x",
    "/etc/passwd", "a\0b", "\x1b[31m", "犬", "\ud800", "a" * 5000, [], [0], [0, 8], [1.5], ["x"], {}, {"x": 1}, [[[[]]]],
    *(f"{levels} deep" for levels in DEPTHS),
)  # fmt: skip


def altered(tree: Any, chance: random.Random) -> str:
    """JSON of a tree with one value, key or entry changed for something odd."""
    text = json.dumps(_altered(tree, chance))
    for levels in DEPTHS:
        text = text.replace(f'"{levels} deep"', "[" * levels + "]" * levels)  # deeper than Python's own encoder goes
    return text


def _altered(tree: Any, chance: random.Random) -> Any:
    if not isinstance(tree, dict | list) or not tree or chance.random() < 0.15:
        return chance.choice(ODD)
    key = chance.choice(list(tree) if isinstance(tree, dict) else range(len(tree)))
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    match chance.randrange(8):
        case 0:
            del copy[key]
        case 1 if isinstance(copy, list):
            copy.extend(copy * chance.choice((1, 50)))
        case 1:
            copy[str(chance.choice(ODD))[:50]] = chance.choice(ODD)
        case _:
            copy[key] = _altered(tree[key], chance)
    return copy


@pytest.fixture(scope="session")
def mutate() -> Callable[[bytes, random.Random], bytes]:
    return mutated


@pytest.fixture(scope="session")
def alter() -> Callable[[Any, random.Random], str]:
    return altered
