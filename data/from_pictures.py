"""`python -m data from-pictures` and `python -m data paint`: the paper's Figure 5, from sentences or photographs to a data set."""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
import time
from pathlib import Path

from tqdm.auto import tqdm
from tyro.conf import Positional, Suppress

from data.engine import Engine
from data.peel.assemble import AssemblyRules, chosen_ids, shards
from data.peel.candidates import CandidateRules
from data.peel.filters import FilterRules
from data.peel.ingest import PROMPTS_FILE, IngestRules
from data.peel.networks import NetworkModels, NetworkStageSource
from data.peel.peel import PeelSettings
from data.peel.report import report
from data.peel.run import Account, Run, account, part_of
from dreamlayer_jax.files import new_file, write_text
from dreamlayer_jax.planner.plan import PlanError
from dreamlayer_jax.planner.rules import plan_by_rules


@dataclasses.dataclass(frozen=True, kw_only=True)
class FromPictures:
    """Take pictures apart into layers, and write them as a TFDS data set. Resumes where it was stopped."""

    pictures: Positional[Path]
    """The folder of pictures; prompts.jsonl in it, or NAME.json beside each NAME.jpg, says what they show."""
    out: Path
    """The folder that the data set's own folder goes into."""
    work: Path | None = None
    """Where the results are kept, one file a picture; PICTURES.work if left out."""
    part: str = "1/1"
    """i/n: only every n-th picture, from the i-th on, and no data set: for arrays of jobs on one disk. At the end, run once without it."""
    redo: bool = False
    """Make all results again, with the settings of now."""
    workers: int = 0
    """Of Apache Beam, on this machine: 0 does without Beam. What follows -- are Beam's own options: -- --runner FlinkRunner …"""
    beam: Suppress[tuple[str, ...]] = ()
    """What followed --."""
    models: NetworkModels = NetworkModels()
    candidates: CandidateRules = CandidateRules()
    filters: FilterRules = FilterRules()
    rules: IngestRules = IngestRules()
    assembly: AssemblyRules = AssemblyRules()
    skirt: float = 0.04
    """Of the short side: how far around an object its shadow is painted over too."""

    def run(self) -> str:
        """The command. Raises `ValueError` if a picture was bad or nothing was accepted: then there is no data set."""
        settings = PeelSettings(
            candidates=self.candidates,
            filters=dataclasses.replace(self.filters, check_sharpness=self.filters.check_sharpness and self.models.fill != "smooth"),
            skirt=self.skirt,
        )
        work = self.work or self.pictures.with_name(self.pictures.name + ".work")
        run = Run(pictures=self.pictures, work=work, stages=NetworkStageSource(self.models), settings=settings, rules=self.rules)
        engine = Engine(workers=self.workers, options=self.beam)
        return run_all(run, self.out, self.assembly, part=_part(self.part), redo=self.redo, engine=engine)


def run_all(
    run: Run, out: Path, rules: AssemblyRules, *, part: tuple[int, int] = (1, 1), redo: bool = False, engine: Engine = Engine()
) -> str:
    """Peels the inputs of a part and, if the part is the whole, writes report and data set. What to tell the person comes back."""
    inputs = run.begin(redo)
    mine = part_of(inputs, part)
    started = time.time()
    with tqdm(total=len(mine), unit="picture", disable=not sys.stderr.isatty()) as bar:
        do, is_done = functools.partial(run.one, redo=redo), functools.partial(run.noted_since, started)
        engine.each(do, mine, run.work, is_done=is_done, on_done=bar.update)
    if part[1] > 1:
        return f"{len(mine)} of {len(inputs)} pictures have their results in {run.work}; run without --part when all parts are done"
    found = account(run, inputs)
    ids, left_out = chosen_ids(run.work, list(found.ids.values()), rules)
    page = run.work / "report.md"
    write_text(page, report(run, found, left_out, len(ids)))
    if not ids:
        raise ValueError(f"{_told(found)}; no picture is left for a data set: {page} says why")
    try:
        from data.tfds_builder import build_pictures
    except ImportError as error:
        raise ValueError(f"building needs tensorflow-datasets ({error}); pip install -e '.[train]'") from error
    folder = build_pictures(shards(run.work, ids, rules), out)
    return f"wrote {folder}: {len(ids)} pictures; {_told(found)}; {page}"


def _told(found: Account) -> str:
    counts = found.counts
    return f"{len(found.outcomes)} inputs: " + ", ".join(f"{counts[name]} {name}" for name in ("accepted", "rejected", "failed"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paint:
    """Paint pictures of sentences with Stable Diffusion and note what they show, for `from-pictures`. Resumes where it was stopped."""

    prompts: Positional[Path]
    """A text file, a sentence a line."""
    out: Path
    """The folder of pictures and prompts.jsonl."""
    weights: str = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    """A Stable Diffusion 1.x model: a folder, a file or a hub id."""
    steps: int | None = None
    guidance: float | None = None
    size: tuple[int, int] | None = None
    """Height and width; the model's own if left out."""
    seed: int = 0
    """The first picture's; each next one's is one more."""

    def run(self) -> str:
        """The command. Raises `ValueError` for a sentence that cannot be planned, before anything is painted."""
        from dreamlayer_jax import DreamLayer
        from dreamlayer_jax.stable_diffusion import text_to_image

        plans = [(sentence, self._planned(number, sentence)) for number, sentence in _sentences(self.prompts)]
        model = DreamLayer.from_pretrained(self.weights)
        self.out.mkdir(parents=True, exist_ok=True)
        lines, painted = [], 0
        for number, (sentence, plan) in enumerate(tqdm(plans, unit="picture", disable=not sys.stderr.isatty())):
            name = f"{number:06d}.png"
            lines.append({"file": name, "background": plan.background, "foregrounds": list(plan.foregrounds), "caption": sentence})
            if (self.out / name).is_file():
                continue
            options = {"steps": self.steps, "guidance": self.guidance, "size": self.size}
            picture = text_to_image(model, [sentence], seed=self.seed + number, **options)[0]
            _save(picture, self.out / name)
            painted += 1
        write_text(self.out / PROMPTS_FILE, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        return f"wrote {self.out}: {painted} pictures painted, {len(plans) - painted} were there"

    def _planned(self, number: int, sentence: str):
        try:
            return plan_by_rules(sentence)
        except PlanError as error:
            raise ValueError(f"{self.prompts}, line {number}: {error}") from error


def _sentences(path: Path) -> list[tuple[int, str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    found = [(number, " ".join(line.split())) for number, line in enumerate(lines, start=1) if line.strip()]
    if not found:
        raise ValueError(f"{path} holds no sentence; give one a line, such as: a dog and a red apple on a sandy beach")
    return found


def _save(picture, path: Path) -> None:
    from PIL import Image

    with new_file(path) as fresh:
        Image.fromarray(picture).save(fresh)


def _part(text: str) -> tuple[int, int]:
    try:
        i, n = (int(number) for number in text.split("/"))
    except ValueError:
        raise ValueError(f"--part {text}: give i/n, such as 1/3") from None
    return i, n
