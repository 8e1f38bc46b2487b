"""The report of an evaluation: a folder with `report.md`, `report.json` and `sheet.png`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dreamlayer_jax.files import new_folder
from sample.evaluate.intervals import Figure
from sample.evaluate.metrics import SECTIONS, Metric
from sample.evaluate.scenes import ScenePictures
from sample.evaluate.sheet import contact_sheet

LISTING = "report.json"
FILES = (LISTING, "report.md", "sheet.png")
NONE = "–"

NOTES = """\
Every figure has its 95% interval over scenes in brackets (bootstrap; Clopper and Pearson's for shares of none or all); “–” is no value.
`all` is every scene, k counts layers, background included. Fréchet distances are of {features}; the global picture, the blend and the
composite are all compared with the true global pictures of the same prompts. Such distances are biased up by few pictures:
compare only those of equally many. `benchmarks/README.md` defines the other metrics."""


def markdown_table(summary: dict[str, Any], metrics: dict[str, Metric]) -> str:
    """The metrics that `summary` (`intervals.summarize`) has as a Markdown table, groups in columns, intervals in brackets."""
    heading = ["", *(f"{group} ({facts['scenes']})" for group, facts in summary.items())]
    rows = [heading, ["---"] * len(heading)]
    for name, metric in metrics.items():
        if any(name in facts for facts in summary.values()):
            rows.append([metric.title, *(cell(facts.get(name), metric.digits) for facts in summary.values())])
    return table(rows)


def markdown_sections(summary: dict[str, Any]) -> str:
    """A table under a heading for every section that has a figure."""
    sections = []
    for title, metrics in SECTIONS.items():
        if any(name in facts for name in metrics for facts in summary.values()):
            sections.append(f"## {title}\n\n{markdown_table(summary, metrics)}\n")
    return "\n".join(sections)


def markdown(report: dict[str, Any]) -> str:
    """The whole `report.md`."""
    settings = ", ".join(f"{name} {value}" for name, value in report["settings"].items() if value is not None)
    return "\n".join(
        [
            f"# Evaluation of {report['measured']}",
            "",
            f"{report['summary']['all']['scenes']} held-out prompt sets; {settings}.",
            "",
            NOTES.format(features=report["features"]),
            "",
            markdown_sections(report["summary"]),
        ]
    )


def write_report(report: dict[str, Any], scenes: Sequence[ScenePictures], folder: Path, *, overwrite: bool) -> None:
    """Writes the folder whole or not at all. `FileExistsError` as in `require_free`."""
    with new_folder(folder, overwrite=overwrite, listing=LISTING) as temporary:
        (temporary / "report.md").write_text(markdown(report), encoding="utf-8")
        (temporary / LISTING).write_text(json.dumps({"files": FILES, **report}, indent=1) + "\n", encoding="utf-8")
        contact_sheet(scenes).save(temporary / "sheet.png", optimize=True)


def cell(figure: Figure | None, digits: int, sign: str = "") -> str:
    """A figure with its interval; `sign` "+" shows the sign of a gain too."""
    return NONE if figure is None else "{mean:{s}.{d}f} [{low:{s}.{d}f}, {high:{s}.{d}f}]".format(s=sign, d=digits, **figure)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows, the heading and its rule among them, as a Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
