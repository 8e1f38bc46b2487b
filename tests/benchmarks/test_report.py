"""What the measurements write."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from benchmarks.report import figures_of, write_report


@dataclasses.dataclass(frozen=True)
class Options:
    count: int = 3
    out: Path | None = None


def test_figures_leave_out_scenes_without_a_value_and_names_without_a_scene() -> None:
    figures = figures_of([{"kept": [1.0, 3.0], "closer": []}, {"kept": [], "closer": []}, {"kept": [2.0]}])
    assert list(figures) == ["kept"]
    assert figures["kept"]["mean"] == 2
    assert figures["kept"]["low"] <= 2 <= figures["kept"]["high"]


def test_a_report_has_its_settings_and_replaces_an_earlier_one(tmp_path: Path) -> None:
    for count in (3, 4):
        write_report(Options(count), {"kept": 1.0}, tmp_path / "new" / "report.json")
    assert json.loads((tmp_path / "new" / "report.json").read_text()) == {"settings": {"count": 4}, "summary": {"kept": 1.0}}
    assert [path.name for path in tmp_path.rglob("*.*")] == ["report.json"]
    write_report(Options(), {}, None)
