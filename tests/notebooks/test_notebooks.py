"""Every notebook runs, and what is committed is its text with outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest

from notebooks.__main__ import PARAMETERS, read, run, sources

QUICK: dict[str, dict[str, Any]] = {
    "layers_from_text": {"STEPS": 2},
    "how_it_works": {"STEPS": 2},
    "on_a_tpu": {"STEPS": 2, "SCENES": 2},
    "stable_diffusion_layers": {"STEPS": 2},
    "train_your_own": {"SCENES": 30, "AUTOENCODER_STEPS": 2, "LAYER_DECODER_STEPS": 2, "DIFFUSION_STEPS": 2},
}
each = pytest.mark.parametrize("source", sources(), ids=lambda source: source.stem)


def pictures(notebook: nbformat.NotebookNode) -> int:
    return sum("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ()))


def test_every_notebook_has_quick_parameters() -> None:
    assert {source.stem for source in sources()} == set(QUICK)


@pytest.mark.slow
@each
def test_it_runs_from_the_first_cell_to_the_last(source: Path, tmp_path: Path) -> None:
    assert pictures(run(source, tmp_path, QUICK[source.stem])) > 0


def test_a_parameter_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"layers_from_text.md has no parameter STEP$"):
        run(next(source for source in sources() if source.stem == "layers_from_text"), tmp_path, {"STEP": 2})


@each
def test_what_is_committed_is_the_text_with_outputs(source: Path) -> None:
    path = source.with_suffix(".ipynb")
    committed, text = nbformat.read(path, as_version=4), read(source)
    assert [(cell.cell_type, cell.source) for cell in committed.cells] == [(cell.cell_type, cell.source) for cell in text.cells]
    assert all(cell.execution_count for cell in committed.cells if cell.cell_type == "code")
    assert pictures(committed) > 0
    assert path.stat().st_size < 1.5 * 2**20
    code = [cell for cell in text.cells if cell.cell_type == "code"]
    assert "find_spec" in code[0].source  # the install cell comes first
    assert sum(PARAMETERS in cell.metadata.get("tags", ()) for cell in code) == 1
