"""A folder of pictures through the stages, one result file each, and the account of all of them.

Every input ends as exactly one of accepted, rejected or failed. What is accepted or rejected is not done again; what failed (an exception,
not a judgement) is tried again by the next run. Results of other settings are refused, not mixed.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data.peel.filters import Rejected
from data.peel.ingest import Ingested, IngestRules, ingest, listed_prompts, picture_files
from data.peel.peel import PeelSettings, peel
from data.peel.result import Outcome, read_outcome, write_result
from data.peel.stages import Stages, Wanted
from dreamlayer_jax.files import recover, write_json

SETTINGS_FILE = "settings.json"


class StageSource(Protocol):
    """Stages for a picture: networks give the same ones for all; oracles are bound to their scene."""

    described: str

    def __call__(self, picture: np.ndarray, wanted: Wanted) -> Stages: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What a worker needs: picklable, so that any engine can send it anywhere."""

    pictures: Path
    work: Path
    stages: StageSource
    settings: PeelSettings = PeelSettings()
    rules: IngestRules = IngestRules()

    @property
    def digest(self) -> str:
        """Of all that decides a result."""
        tree = [dataclasses.asdict(self.settings), dataclasses.asdict(self.rules), self.stages.described]
        return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:16]

    def begin(self, redo: bool = False) -> list[str]:
        """The inputs, after a look at the work folder.

        Raises:
            ValueError: the folder's results were made with other settings, and `redo` is not given; or there are no pictures.
        """
        inputs = picture_files(self.pictures)
        for left in self.work.rglob(".*.new"):  # of killed workers; what a living one writes stays
            recover(left.with_name(left.name[1 : -len(".xxxxxxxx.new")]))
        path = self.work / SETTINGS_FILE
        self.work.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            before = json.loads(path.read_text(encoding="utf-8"))["digest"]
            if before != self.digest and not redo:
                raise ValueError(
                    f"the results in {self.work} were made with other settings (digest {before}, now {self.digest}): give the same "
                    "settings, another --work folder, or --redo to make them all again"
                )
        written = {"digest": self.digest, "settings": dataclasses.asdict(self.settings), "rules": dataclasses.asdict(self.rules)}
        write_json(path, {**written, "stages": self.stages.described})
        return inputs

    def entry_path(self, source: str) -> Path:
        """The note of an input: which picture it is, or why it is none."""
        return self.work / "inputs" / f"{hashlib.sha256(source.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.json"

    def noted_since(self, moment: float, source: str) -> bool:
        """Whether a worker has been through with an input since `moment` (seconds since the epoch)."""
        try:
            return self.entry_path(source).stat().st_mtime >= moment
        except OSError:
            return False

    def one(self, source: str, redo: bool = False) -> Outcome:
        """One input to its end. Never raises but for the disk: an exception of a stage is the input's failure."""
        started = time.monotonic()
        try:
            item = ingest(self.pictures, source, self._prompts(), self.rules)
        except Rejected as refused:
            outcome = Outcome(status="rejected", reason=refused.reason, figures=refused.figures)
            write_json(self._noted(source), {"source": _printable(source), "digest": self.digest, "outcome": dataclasses.asdict(outcome)})
            return outcome
        done = None if redo else read_outcome(self.work, item.id)
        if done is None or done.status == "failed" or done.figures.get("digest") != self.digest:
            done = self._peeled(item, source, started)
        write_json(self._noted(source), {"source": _printable(source), "digest": self.digest, "id": item.id})
        return done

    def _peeled(self, item: Ingested, source: str, started: float) -> Outcome:
        peeled = None
        common = {"digest": self.digest}
        try:
            peeled = peel(item.picture, item.wanted, self.stages(item.picture, item.wanted), self.settings, item.seed)
            outcome = Outcome(status="accepted", layers=len(peeled.rgba), prompts=peeled.prompts, figures={**peeled.figures, **common})
        except Rejected as refused:
            outcome = Outcome(status="rejected", reason=refused.reason, figures={**refused.figures, **common})
        except Exception as error:  # whatever a network may raise; the next run tries again
            outcome = Outcome(status="failed", reason=f"{type(error).__name__}: {error}", figures=common)
        write_result(self.work, item.id, outcome, peeled)
        write_json(self.work / "times" / f"{item.id}.json", {"source": _printable(source), "seconds": time.monotonic() - started})
        return outcome

    def _noted(self, source: str) -> Path:
        path = self.entry_path(source)
        path.parent.mkdir(parents=True, exist_ok=True)
        (self.work / "times").mkdir(exist_ok=True)
        return path

    def _prompts(self) -> dict[str, Any]:
        return listed_prompts(self.pictures)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Account:
    """How every input ended."""

    outcomes: dict[str, Outcome]
    ids: dict[str, str]
    """Of the accepted pictures, the id of each input; a picture that comes twice counts under its first name."""

    @property
    def counts(self) -> collections.Counter[str]:
        return collections.Counter(outcome.status for outcome in self.outcomes.values())

    @property
    def reasons(self) -> collections.Counter[str]:
        """Of the rejected, by reason."""
        return collections.Counter(outcome.reason for outcome in self.outcomes.values() if outcome.status == "rejected")


def account(run: Run, inputs: Sequence[str]) -> Account:
    """Reads how every input ended. Raises `ValueError` if some have not: another part has not run yet, say."""
    outcomes: dict[str, Outcome] = {}
    ids: dict[str, str] = {}
    first: dict[str, str] = {}
    missing = []
    for source in inputs:
        try:
            note = json.loads(run.entry_path(source).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            missing.append(source)
            continue
        if "outcome" in note:
            outcomes[source] = Outcome(**{**note["outcome"], "prompts": ()})
            continue
        outcome = read_outcome(run.work, note["id"])
        if outcome is None or note["digest"] != run.digest:
            missing.append(source)
        elif note["id"] in first:
            outcomes[source] = Outcome(status="rejected", reason="same picture twice", figures={"first": first[note["id"]]})
        else:
            first[note["id"]] = source
            outcomes[source] = outcome
            if outcome.status == "accepted":
                ids[source] = note["id"]
    if missing:
        raise ValueError(f"{len(missing)} of {len(inputs)} pictures have no result yet, {missing[0]} among them: run the other parts first")
    return Account(outcomes=outcomes, ids=ids)


def peel_all(run: Run, sources: Sequence[str], *, redo: bool = False, on_done: Callable[[str, Outcome], None] = lambda *_: None) -> None:
    """The inputs one after the other, in this process."""
    for source in sources:
        on_done(source, run.one(source, redo))


def part_of(inputs: Sequence[str], part: tuple[int, int]) -> list[str]:
    """Part i of n, 1 ≤ i ≤ n: every n-th input."""
    i, n = part
    if not 1 <= i <= n:
        raise ValueError(f"--part {i}/{n}: give i/n with 1 <= i <= n, such as 1/3")
    return list(inputs[i - 1 :: n])


def _printable(source: str) -> str:
    return source.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
