"""Where a list of work is done: in this process, or by Apache Beam, here or on a cluster. The only file that imports Beam.

What an item makes is a file under a name of its own, so Beam carries names alone: nothing is shuffled through memory, a worker that is
killed loses one item, and which engine did the work cannot be seen in the bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dreamlayer_jax.files import write_text

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

LOCAL_RUNNER = "FnApiRunner"  # by name: "DirectRunner" first tries to download a program, Prism, and runs that
LOCAL_RUNNERS = ("fnapirunner", "directrunner", "switchingdirectrunner", "prismrunner", "bundlebaseddirectrunner")
CODE_FLAGS = ("--sdk_container_image", "--setup_file", "--environment_type")
MANIFESTS = "manifests"
POLL_SECONDS = 1.0

ONE_AT_A_TIME = threading.Lock()
"""Threads of a worker share its models, and not every model (nor tokenizer) may be used by two at once."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Engine:
    """Who does the work. Without workers and options this process does it, one item after the other, and Beam is not needed."""

    workers: int = 0
    """Of Beam's local runner: 1 is this process, more are processes of their own."""
    options: tuple[str, ...] = ()
    """Beam's own: its runner and what that takes."""

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ValueError(f"--workers {self.workers}: give 0 (no Apache Beam), 1 or more")

    @property
    def is_beam(self) -> bool:
        """Whether Apache Beam does the work."""
        return bool(self.workers or self.options)

    def each(
        self,
        do: Callable[[str], object],
        items: Sequence[str],
        folder: Path,
        *,
        is_done: Callable[[str], bool],
        on_done: Callable[[], object] = lambda: None,
    ) -> None:
        """Calls `do` with every item. `do` travels to workers: it must be picklable, and its module importable there.

        folder: where the list of items is put for the workers, so a place that all of them see.
        is_done, on_done: for a progress bar; workers cannot call it, so this process looks.

        Raises:
            ValueError: Beam is wanted and not installed, or its options cannot be.
        """
        if not self.is_beam:
            for item in items:
                do(item)
                on_done()
            return
        options = _pipeline_options(self.workers, self.options)
        lines = "".join(json.dumps(item) + "\n" for item in items)  # ASCII, whatever a file is called
        manifest = folder / MANIFESTS / f"{hashlib.sha256(lines.encode()).hexdigest()[:16]}.jsonl"
        manifest.parent.mkdir(parents=True, exist_ok=True)
        write_text(manifest, lines)
        ended = threading.Event()
        watcher = threading.Thread(target=_watch, args=(list(items), is_done, on_done, ended), daemon=True)
        watcher.start()
        try:
            _run(do, manifest, options)
        finally:
            ended.set()
            watcher.join()


def _run(do: Callable[[str], object], manifest: Path, options: PipelineOptions) -> None:
    import apache_beam as beam

    with beam.Pipeline(options=options) as pipeline:
        items = pipeline | "Items" >> beam.io.ReadFromText(str(manifest)) | "Spread" >> beam.Reshuffle()
        _ = items | "Do" >> beam.FlatMap(_Item(do))


@dataclasses.dataclass(frozen=True)
class _Item:
    """A line of the manifest done, with nothing to pass on."""

    do: Callable[[str], object]

    def __call__(self, line: str) -> tuple[()]:
        with ONE_AT_A_TIME:
            self.do(json.loads(line))
        return ()


def _pipeline_options(workers: int, given: Sequence[str]) -> PipelineOptions:
    try:
        from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
    except ImportError as error:
        raise ValueError(f"workers and Apache Beam's options need Apache Beam ({error}); pip install -e '.[beam]'") from error
    if given and not given[0].startswith("--"):
        raise ValueError(f"what follows -- goes to Apache Beam and begins with an option such as --runner, got {given[0]!r}")
    options = PipelineOptions(list(given))
    standard = options.view_as(StandardOptions)
    standard.runner = standard.runner or LOCAL_RUNNER
    if standard.runner.rpartition(".")[2].lower() not in LOCAL_RUNNERS:
        if workers:
            raise ValueError(f"--workers is of the local runner; {standard.runner} has options of its own for how many, after --")
        if not any(flag.partition("=")[0] in CODE_FLAGS for flag in given):
            raise ValueError(
                f"the workers of {standard.runner} need this checkout's code: give one of {', '.join(CODE_FLAGS)} after --; "
                "docs/data.md has the recipe of a container"
            )
    if workers > 1:
        direct = options.view_as(DirectOptions)
        direct.direct_num_workers, direct.direct_running_mode = workers, "multi_processing"
    return options


def _watch(items: list[str], is_done: Callable[[str], bool], on_done: Callable[[], object], ended: threading.Event) -> None:
    while items:
        last = ended.wait(POLL_SECONDS)
        left = [item for item in items if not is_done(item)]
        for _ in range(len(items) - len(left)):
            on_done()
        items = left
        if last:
            return
