"""Writing files and folders whole or not at all: the one atomic writer.

What is written is first made in a working folder beside its place, and takes its place in one rename:

    .NAME.xxxxxxxx.new/lock       held (by the system, so a killed process lets go of it) for as long as the writer lives
    .NAME.xxxxxxxx.new/new/NAME   what is being written
    .NAME.xxxxxxxx.new/old        what was there before, between the two renames of a system that cannot exchange two names in one call

A working folder whose lock nobody holds is the leftover of a killed writer: `recover` finishes what it had begun to put in place, and
removes the rest. Every writer does so first; readers do it before they say that something is missing. What is finished is never deleted:
where the system refuses to put it in place, it stays beside under a visible name, and the error says which.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import re
import shutil
import stat
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

LEFT_BY_SYSTEMS = frozenset({".DS_Store", ".directory", "Thumbs.db", "desktop.ini"})
SCENE_FILE = "scene.json"
"""The listing of a scene folder."""
WAITS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Seconds between attempts to rename: on Windows a virus scanner or an indexer may hold what was just written."""

_LOCK, _NEW, _OLD, _KEPT = "lock", "new", "old", "kept"
_HERE = -100  # AT_FDCWD of <fcntl.h>
_NOREPLACE, _EXCHANGE = 1, 2  # RENAME_NOREPLACE and RENAME_EXCHANGE of <linux/fs.h>


@contextlib.contextmanager
def new_file(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Gives a path of the same name to write; when the block ends well that file becomes `path`, otherwise it is removed.

    Raises:
        FileExistsError: as `require_free_file`, at the beginning and again at the end.
        OSError: the system refuses to put the file in place; the message says where the finished file is.
    """
    target = Path(path).resolve()
    require_free_file(target, overwrite=overwrite)
    with _working_folder(target) as work:
        fresh = work / _NEW / target.name
        yield fresh
        _put(fresh, target, work / _OLD, lambda: require_free_file(target, overwrite=overwrite))


@contextlib.contextmanager
def new_folder(folder: str | Path, *, overwrite: bool = False, listing: str | None = SCENE_FILE) -> Iterator[Path]:
    """Gives an empty folder to fill; when the block ends well it becomes `folder`, otherwise it is removed.

    `overwrite` and `listing` as in `require_free`, which is asked at the beginning and again at the end. Raises `OSError` as `new_file`.
    """
    target = Path(folder).resolve()
    require_free(target, overwrite=overwrite, listing=listing)
    with _working_folder(target) as work:
        fresh = work / _NEW / target.name
        fresh.mkdir()
        yield fresh
        _put(fresh, target, work / _OLD, lambda: require_free(target, overwrite=overwrite, listing=listing))


def write_text(path: str | Path, text: str) -> None:
    """Writes or replaces a UTF-8 text file, whatever the locale; lines end as in `text`."""
    with new_file(path, overwrite=True) as fresh:
        fresh.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, tree: Any, indent: int | None = 2) -> None:
    """Writes or replaces a JSON file, UTF-8, with a newline at its end. Raises `ValueError` for NaN and infinity, which JSON has not."""
    write_text(path, json.dumps(tree, indent=indent, ensure_ascii=False, allow_nan=False) + "\n")


def require_free_file(path: str | Path, *, overwrite: bool) -> None:
    """Raises `FileExistsError` unless the file can be written: absent, or a file and `overwrite`; `OSError` where nothing can be."""
    path = Path(path)
    recover(path)
    if path.is_dir():
        raise FileExistsError(f"{path} is a folder; the output must be a file")
    if os.path.lexists(path) and not overwrite:
        raise FileExistsError(f"{path} is there already; choose another name, or give --overwrite (overwrite=True) to replace it")
    _require_writable(path)


def require_free(folder: str | Path, *, overwrite: bool = False, listing: str | None = SCENE_FILE) -> None:
    """Raises `FileExistsError` unless `folder` can be written: absent, empty, or (with `overwrite`) holding only what we wrote.

    Overwriting deletes, so a folder with anything else in it is refused even then. `listing` names the JSON file that says in "files" what
    an earlier output put there; None for a kind of folder that is never overwritten. Raises `OSError` where nothing can be written.
    """
    folder = Path(folder)
    recover(folder)
    if os.path.lexists(folder):
        if not folder.is_dir():
            raise FileExistsError(f"{folder} is a file; the output must be a folder")
        if any(not left_by_system(entry.name) for entry in folder.iterdir()):
            if listing is None:
                raise FileExistsError(f"{folder} is there already and not empty; remove it or choose another folder")
            if not overwrite:
                raise FileExistsError(f"{folder} is not empty; choose another folder, or give --overwrite (overwrite=True) to replace it")
            strangers = _strangers(folder, listing)
            if strangers:
                what = f"{folder} holds more than an earlier {Path(listing).stem} ({', '.join(strangers[:3])})"
                raise FileExistsError(f"{what}, which overwriting would delete; choose another folder")
    _require_writable(folder)


def left_by_system(name: str) -> bool:
    """Whether a file manager leaves files of this name in folders that are looked at: no person's, and in nobody's way."""
    return name in LEFT_BY_SYSTEMS or name.startswith("._")


def read_regular(file: str | Path, most: int) -> bytes:
    """The content of a regular file of at most `most` bytes; never waits. Raises `OSError`, and `ValueError` for any other file."""
    if os.path.isdir(file):
        raise IsADirectoryError(f"{file} is a folder")
    if not stat.S_ISREG(os.stat(file).st_mode):
        raise ValueError(f"{file} is no regular file")
    descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))  # a FIFO would be waited for
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{file} is no regular file")
        if found.st_size > most:
            raise ValueError(f"{file} has {found.st_size} bytes; at most {most} are read")
        with open(descriptor, "rb", closefd=False) as opened:
            return opened.read(most)
    finally:
        os.close(descriptor)


def inside(folder: Path, name: str, hard_links: bool = True) -> Path:
    """The file `name`, which another file of `folder` names. It never lies elsewhere, by its name or by a link.

    Raises `ValueError` if it does, or, without `hard_links`, if it has other names: nobody knows where those are. What the Hugging Face
    hub's cache links to, the `blobs` of the same repository, is inside.
    """
    path = Path(name)
    if not name or "\0" in name or path.is_absolute() or path.drive or ".." in path.parts:
        raise ValueError(f"the name {name!r} leads out of {folder}")
    try:
        here, found = folder.resolve(), (folder / path).resolve()
        other_names = found.is_file() and found.stat().st_nlink > 1
    except (OSError, RuntimeError) as error:  # a name too long, a link that leads to itself
        raise ValueError(f"the name {name[:80]!r} cannot be looked up ({error})") from None
    homes = [here, here.parents[1] / "blobs"] if here.parent.name == "snapshots" else [here]
    if not any(found.is_relative_to(home) for home in homes):
        raise ValueError(f"{folder / path} is a link out of {folder}")
    if other_names and not hard_links:
        raise ValueError(f"{folder / path} is a hard link to a file that has other names: copy it")
    return folder / path


def recover(path: str | Path) -> None:
    """Puts `path` right after killed writers: what they had begun to put in place is finished, and their leftovers are removed."""
    target = Path(path).resolve()
    ours = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}\.new")
    with contextlib.suppress(OSError):  # whatever stands in the way of tidying up does not stand in the way of what is asked for
        for name in [name for name in os.listdir(target.parent) if ours.fullmatch(name)]:
            _recover_from(target.parent / name, target)


def _recover_from(work: Path, target: Path) -> None:
    if not (work / _LOCK).is_file() or (work / _KEPT).exists():
        with contextlib.suppress(OSError):
            work.rmdir()  # of a writer killed before it made the lock; what holds anything else stays
        return
    lock = FileLock(work / _LOCK)
    try:
        lock.acquire(blocking=False)
    except (Timeout, OSError):
        return  # its writer lives
    try:
        if os.path.lexists(work / _OLD) and not os.path.lexists(target):
            fresh = work / _NEW / target.name
            os.rename(fresh if os.path.lexists(fresh) else work / _OLD, target)
    finally:
        lock.release()
    shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def _working_folder(target: Path) -> Iterator[Path]:
    target.parent.mkdir(parents=True, exist_ok=True)
    work, lock = _locked_folder(target)
    try:
        yield work
    finally:
        lock.release()
        if not (work / _KEPT).exists():
            shutil.rmtree(work, ignore_errors=True)


def _locked_folder(target: Path) -> tuple[Path, FileLock]:
    """A new working folder and its lock. Another process may sweep it in the moment before it is locked: then another is made."""
    while True:
        work = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.new"
        work.mkdir()
        lock = FileLock(work / _LOCK)
        with contextlib.suppress(Timeout, FileNotFoundError):
            lock.acquire(blocking=False)
            (work / _NEW).mkdir()
            return work, lock


def _put(fresh: Path, target: Path, old: Path, require: Callable[[], None]) -> None:
    """`fresh` becomes `target`, if `require` still allows it; otherwise it is kept beside `target`."""
    try:
        require()
        _patiently(lambda: _replace(fresh, target, old))
    except OSError as error:
        if not os.path.lexists(target) and os.path.lexists(old):
            _patiently(lambda: os.rename(old, target))
        raise type(error)(f"{target} was not written ({error}); what was made is kept as {_kept(fresh, target)}") from error


def _kept(fresh: Path, target: Path) -> Path:
    """Where a finished result that may not take its place lies: beside it, or, if the system refuses even that, where it was made."""
    beside = target.with_name(f"{target.stem}.{uuid.uuid4().hex[:8]}.kept{target.suffix}")
    try:
        _patiently(lambda: os.rename(fresh, beside))
    except OSError:
        (fresh.parents[1] / _KEPT).touch()
        return fresh
    return beside


def _replace(fresh: Path, target: Path, old: Path) -> None:
    """In one call where the system can: then there is no moment without a whole `target`."""
    if target.is_dir() and all(left_by_system(entry.name) for entry in target.iterdir()):
        shutil.rmtree(target)
    if not os.path.lexists(target):
        if not _in_one_call(fresh, target, _NOREPLACE):
            os.rename(fresh, target)
    elif not target.is_dir():
        os.replace(fresh, target)
    elif not _in_one_call(fresh, target, _EXCHANGE):
        os.rename(target, old)
        os.rename(fresh, target)


def _patiently(rename: Callable[[], None]) -> None:
    """Tries again for some seconds where the system says that it is not permitted."""
    for wait in WAITS:
        try:
            return rename()
        except PermissionError:
            time.sleep(wait)
    return rename()


@functools.cache
def _renameat2() -> Callable[..., int] | None:
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return call


def _in_one_call(source: Path, target: Path, flag: int) -> bool:
    """Renames by `renameat2`; False where the system or the file system has not got it."""
    import ctypes

    call = _renameat2()
    if call is None:
        return False
    if call(_HERE, os.fsencode(source), _HERE, os.fsencode(target), flag) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), str(source), None, str(target))


def _require_writable(path: Path) -> None:
    """Raises `OSError` if nothing can be made where `path` is to be. Only an attempt tells: a folder may be immutable even to root."""
    path = Path(path).resolve()
    above = next(parent for parent in path.parents if parent.exists())
    try:
        _make_nothing(above, path.name)
    except OSError as error:
        raise type(error)(f"{path} cannot be written ({error.strerror or error}: {above}); choose another place for the output") from error


def _make_nothing(folder: Path, name: str) -> None:
    """Makes something in `folder` that is gone at once: a file without a name, or else an empty working folder, which `recover` sweeps."""
    if hasattr(os, "O_TMPFILE"):
        try:
            os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600))
            return
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                raise
    probe = folder / f".{name}.{uuid.uuid4().hex[:8]}.new"
    probe.mkdir()
    probe.rmdir()


def _strangers(folder: Path, listing: str, inside: bool = False) -> list[str]:
    """Names in `folder` that no earlier output put there. Outputs are folders with a `listing`, and folders of such folders."""
    listed = folder / listing
    known: set[str] = {listing}
    if listed.is_file():
        try:
            known.update(json.loads(listed.read_text(encoding="utf-8"))["files"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return [f"an unreadable {listing}"]
    strangers = []
    for entry in sorted(folder.iterdir()):
        if entry.is_file() and (entry.name in known or left_by_system(entry.name)):
            continue
        ours = not inside and entry.is_dir() and not entry.is_symlink() and (entry / listing).is_file()
        if not ours or _strangers(entry, listing, inside=True):
            strangers.append(entry.name)
    return strangers
