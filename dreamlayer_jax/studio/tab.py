"""One open tab: its document, what undo goes back to, its uploads, and the work it waits for. Tabs know nothing of each other."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dreamlayer_jax.editing.edits import Edit
from dreamlayer_jax.layered_image import LayeredImage
from dreamlayer_jax.pipeline import DreamLayer
from dreamlayer_jax.studio.document import Document, Look
from dreamlayer_jax.studio.limits import Limits, StudioError, TooMuch
from dreamlayer_jax.studio.work import Queue, Work


class Tab:
    """Methods are called from the server's loop; the queue's thread comes in through `_changed` and finished work alone."""

    def __init__(self, name: str, model: DreamLayer, queue: Queue, folder: Path, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self.name, self.folder, self.limits = name, folder, limits
        self._model, self._queue, self._loop = model, queue, loop
        self._lock = threading.Lock()
        self.document: Document | None = None
        self._past: list[Document | None] = []
        self._future: list[Document | None] = []
        self.version, self.message, self.work = 0, "", None
        self.uploads: dict[int, tuple[str, Path]] = {}
        self._given = 0
        self.changed = asyncio.Event()
        self.listeners = 0
        folder.mkdir()

    def say(self, message: str) -> None:
        """A sentence for the person at the page."""
        self.message = message
        self._tell()

    def make(self, what: str, do: Callable[[Callable[[float], None]], LayeredImage]) -> None:
        """A new scene, which takes the old one's place when it is there."""

        def made(report: Callable[[float], None]) -> None:
            image = do(report)
            report(1.0)  # nobody may want it any more
            self._becomes(Document.of(image))

        self._start(what, made)

    def edit(self, edits: Sequence[Edit]) -> None:
        """Layers move at once; the composite follows. What was under way for an earlier state of the same scene is given up."""
        self._next(self._open().with_edits(edits))

    def look(self, looks: Sequence[Look]) -> None:
        """Names, opacities and eyes, of every layer. Names alone need no new composite."""
        document = self._open()
        if len(looks) != len(document.looks):
            raise StudioError(f"{len(looks)} layers are described and {len(document.looks)} are there; reload the page")
        shown = [(look.opacity, look.visible) for look in looks] != [(look.opacity, look.visible) for look in document.looks]
        if shown and document.makes_anew and document.image is None:
            raise StudioError("a layer is still being made; wait for it, or stop it")
        self._next(dataclasses.replace(document, looks=tuple(looks), image=None if shown else document.image))

    def harmonize(self) -> None:
        """What was stopped, or opened without a composite, again."""
        self._begin_harmonizing(dataclasses.replace(self._open(), image=None))

    def undo(self) -> None:
        self._travel(self._past, self._future, "there is nothing to undo")

    def redo(self) -> None:
        self._travel(self._future, self._past, "there is nothing to redo")

    def cancel(self) -> None:
        """Stops the work; a layer that was to be made anew is not, and all else stays where it was put."""
        self._queue.cancel(self.name)
        with self._lock:
            self._give_up_what_was_to_be_made()
        self.work = None
        self._tell()

    def close(self) -> None:
        self._queue.cancel(self.name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def place_for_upload(self) -> Path:
        """Where the next file goes, under a name of the studio's own. Raises `TooMuch`."""
        if len(self.uploads) >= self.limits.uploads:
            raise TooMuch(f"{self.limits.uploads} files wait to be opened already; open them first")
        self._given += 1
        return self.folder / f"upload-{self._given}"

    def uploaded(self, called: str, path: Path) -> int:
        number = int(path.name.removeprefix("upload-"))
        self.uploads[number] = (called, path)
        return number

    def take_uploads(self, numbers: Sequence[int]) -> list[tuple[str, Path]]:
        """Files that are opened now, and no more kept than until then. Raises `StudioError` for one that is not there."""
        if len(set(numbers)) != len(numbers) or not set(numbers) <= set(self.uploads):
            raise StudioError("a file is named that was not uploaded; choose it again")
        return [self.uploads.pop(number) for number in numbers]

    def state(self) -> dict[str, Any]:
        """As the page gets it."""
        with self._lock:
            document, work = self.document, self.work
        busy = None
        if work is not None and work.state in ("waiting", "working") and not work.unwanted:
            busy = {"what": work.what, "share": round(work.share, 3), "before": self._queue.before(work)}
        scene = None
        if document is not None:
            scene = {
                "size": list(document.base.size),
                "layers": [
                    {**dataclasses.asdict(look), "prompt": layer.prompt, "made": layer.source is not None or document.image is not None}
                    for look, layer in zip(document.looks, document.planned, strict=True)
                ],
                "composite": document.image is not None and document.image.composite_rgb is not None,
            }
        undo, redo = bool(self._past) and self._past[-1] is not None, bool(self._future)
        return {"version": self.version, "scene": scene, "busy": busy, "message": self.message, "undo": undo, "redo": redo}

    def _open(self) -> Document:
        if self.document is None:
            raise StudioError("no scene is open; make one, or open one")
        return self.document

    def _next(self, document: Document) -> None:
        if document.image is None:
            self._begin_harmonizing(document, self.document)
        else:
            self._becomes(document)

    def _begin_harmonizing(self, document: Document, before: Document | None = None) -> None:
        """The document is shown as it is, and harmonised as soon as the model is free."""
        what = "making a layer" if document.makes_anew else "harmonising"

        def do(report: Callable[[float], None]) -> None:
            def edit(image: LayeredImage, edits: Sequence[Edit]) -> LayeredImage:
                return self._model.edit(image, edits, on_progress=report)

            done = document.harmonized(edit)
            report(1.0)
            with self._lock:
                if self.document is document:
                    self.document = done
                    self.version += 1

        self._start(what, do, document, before)

    def _start(
        self, what: str, do: Callable[[Callable[[float], None]], None], shown: Document | None = None, before: Document | None = None
    ) -> None:
        """Queues the work, and shows a document until it is done. Raises `TooMuch`, and then the document is as it was."""
        self._queue.cancel(self.name)
        old = self.document, self._past, self._future, self.work
        self.work = Work(self.name, what, do, self._reported)
        with self._lock:
            if before is not None:
                self._remember(before)
            if shown is not None:
                self.document = shown
                self.version += 1
        self.message = ""
        try:
            self._queue.put(self.work)
        except TooMuch:
            self.document, self._past, self._future, self.work = old
            raise
        finally:
            self._tell()

    def _becomes(self, document: Document) -> None:
        with self._lock:
            self._remember(self.document)
            self.document = document
            self.version += 1
        self._tell()

    def _remember(self, document: Document | None) -> None:
        self._past = [*self._past, document][-self.limits.undo :]
        self._future = []

    def _travel(self, origin: list[Document | None], to: list[Document | None], nothing: str) -> None:
        if not origin or origin[-1] is None:
            raise StudioError(nothing)
        self._queue.cancel(self.name)
        with self._lock:
            to.append(self.document)
            self.document = origin.pop()
            self.version += 1
        self.message, self.work = "", None
        if self.document.image is None:
            self._begin_harmonizing(self.document)
        self._tell()

    def _reported(self, work: Work) -> None:
        """From the queue's thread."""
        if work is self.work and work.state == "failed":
            self.message = work.error
            with self._lock:
                self._give_up_what_was_to_be_made()
        self._tell()

    def _give_up_what_was_to_be_made(self) -> None:
        if self.document is not None and self.document.image is None and self.document.makes_anew and self._past:
            self.document = self._past.pop()
            self.version += 1

    def _tell(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.changed.set)
