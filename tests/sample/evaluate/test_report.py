"""The report's tables and its folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sample.evaluate.intervals import SceneScores, summarize
from sample.evaluate.report import FILES, markdown, write_report
from sample.evaluate.scenes import ScenePictures
from sample.evaluate.sheet import TILE, contact_sheet

REPORT = {"measured": "a stub", "settings": {"steps": 4, "window": None}, "features": "mean colours"}


def pictures(k: int, seed: int, **changes: np.ndarray) -> ScenePictures:
    """Backgrounds in a grey that says the seed."""
    rgba = np.full((k, 8, 8, 4), 255, np.uint8)
    rgba[..., :3] = seed
    names = tuple(f"thing {n}" for n in range(k))
    return ScenePictures(rgba=rgba, global_rgb=rgba[0, ..., :3], names=names, prompts=names, seed=seed, **changes)


def report() -> dict:
    values = [{"agreement_global": [1.0], "psnr_blend_in_shadow": []}, {"agreement_global": [1.0, 0.0], "psnr_blend_in_shadow": [12.34]}]
    return {
        **REPORT,
        "summary": summarize([SceneScores(names=("x",) * k, prompts=(), seed=0, values=v) for k, v in zip((2, 3), values, strict=True)]),
    }


def test_tables_have_a_column_for_each_k_and_a_dash_where_there_is_no_value() -> None:
    lines = markdown(report()).splitlines()
    assert lines[0] == "# Evaluation of a stub"
    assert "2 held-out prompt sets; steps 4." in lines
    assert "|  | all (2) | k=2 (1) | k=3 (1) |" in lines
    assert any(line.startswith("| object named in the global picture, % | 66.7 [") and "| 100.0 [2.5, 100.0] |" in line for line in lines)
    assert "| … of the blend, inside shadows, dB | 12.3 [12.3, 12.3] | – | 12.3 [12.3, 12.3] |" in lines
    assert not any("SSIM" in line or "Layer purity" in line for line in lines)  # nothing of either was measured


def test_the_folder_is_written_whole_and_replaced_only_if_it_holds_nothing_else(tmp_path: Path) -> None:
    out, scenes = tmp_path / "out", [pictures(2, 10)]
    write_report(report(), scenes, out, overwrite=False)
    assert {path.name for path in out.iterdir()} == set(FILES)
    assert json.loads((out / "report.json").read_text())["summary"]["all"]["scenes"] == 2
    with pytest.raises(FileExistsError, match="--overwrite"):
        write_report(report(), scenes, out, overwrite=False)
    write_report({**report(), "measured": "another"}, scenes, out, overwrite=True)
    assert (out / "report.md").read_text().startswith("# Evaluation of another")
    (out / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds more than an earlier report \(notes\.txt\)"):
        write_report(report(), scenes, out, overwrite=True)
    assert (out / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("harmonized", [False, True])
def test_the_sheet_shows_the_first_scenes_of_each_k(harmonized: bool) -> None:
    changes = {"composite_rgb": np.full((8, 8, 3), 200, np.uint8)} if harmonized else {}
    scenes = [pictures(k, seed, **changes) for k, seed in ((3, 90), (2, 50), (2, 40), (3, 70), (2, 60))]
    sheet = contact_sheet(scenes, per_k=2)
    assert isinstance(sheet, Image.Image)
    columns = 2 + harmonized + 3
    assert (sheet.width - 2 * 16) // (TILE + 10) + 1 == columns
    first = [sheet.getpixel((16 + TILE // 2, 16 + 20 + row * (26 + TILE + 10) + 26 + TILE // 2)) for row in range(4)]
    assert first == [(grey,) * 3 for grey in (40, 50, 70, 90)]
    if harmonized:
        assert sheet.getpixel((16 + 2 * (TILE + 10) + TILE // 2, 16 + 20 + 26 + TILE // 2)) == (200,) * 3
