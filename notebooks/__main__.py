"""The notebooks beside this file: each is a text, NAME.md, and what came of running it, NAME.ipynb.

python -m notebooks                    runs all and writes the .ipynb files anew
python -m notebooks layers_from_text   one of them
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
PARAMETERS = "parameters"


def sources() -> list[Path]:
    """The texts."""
    return sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")


def read(source: Path) -> nbformat.NotebookNode:
    """A text as a notebook without outputs; cells are numbered, so that the same text is the same notebook."""
    notebook = jupytext.read(source)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
    return notebook


def run(source: Path, folder: Path, parameters: Mapping[str, Any] | None = None) -> nbformat.NotebookNode:
    """The notebook with its outputs, run in `folder`; `parameters` take the place of values in its cell of that tag.

    Raises nbclient's CellExecutionError where a cell fails, ValueError for a parameter that the notebook has not.
    """
    notebook = read(source)
    if parameters:
        cell = next(cell for cell in notebook.cells if PARAMETERS in cell.metadata.get("tags", ()))
        unknown = [name for name in parameters if f"{name} = " not in cell.source]
        if unknown:
            raise ValueError(f"{source.name} has no parameter {', '.join(unknown)}")
        cell.source += "".join(f"\n{name} = {value!r}" for name, value in parameters.items())
    NotebookClient(notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute(
        env=os.environ | {"PYTHONPATH": str(FOLDER.parent)}
    )
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]  # progress bars
    return notebook


def main() -> None:
    """As the module says."""
    parser = argparse.ArgumentParser(prog="python -m notebooks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="which; all by default")
    names = parser.parse_args().names or [source.stem for source in sources()]
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            notebook = run(FOLDER / f"{name}.md", Path(folder))
        nbformat.write(notebook, FOLDER / f"{name}.ipynb")
        print(f"wrote {FOLDER / name}.ipynb")


if __name__ == "__main__":
    main()
