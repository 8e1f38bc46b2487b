"""What the pages name exists: functions, tests and files of docs/paper_map.md and docs/glossary.md, and every link of every page."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")})
NAMES = ("docs/paper_map.md", "docs/glossary.md")
FOLDERS = "dreamlayer_jax|train|data|sample|benchmarks|tests|docs"


def defined(file: Path) -> set[str]:
    """Names that a module defines at its top, with `Class.method` for what classes hold."""
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names.update(f"{node.name}.{one.name}" for one in node.body if isinstance(one, ast.FunctionDef))
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(target.id for target in targets if isinstance(target, ast.Name))
    return names


def cited(text: str) -> list[tuple[str, str | None]]:
    """(file or folder, name in it) of every `file`, `file:name` and `file::test`; a bare `::test` or `name` after one is of the same file.

    In a table's cell only: what stands in prose may be a word of a command.
    """
    found: list[tuple[str, str | None]] = []
    for row in (line for line in text.splitlines() if line.startswith("| ")):
        for cell in row.split("|"):
            file = None
            for one in re.findall(r"`([^`]+)`", cell):
                if whole := re.fullmatch(rf"((?:{FOLDERS})(?:/[\w.]+)*)(?:::?([\w.]+))?", one):
                    file = whole[1]
                    found.append((file, whole[2]))
                elif file is not None and (name := re.fullmatch(r"(?:::)?([A-Za-z_][\w.]*)", one)):
                    found.append((file, name[1]))
    return found


def missing(page: str) -> list[str]:
    """What a page cites and the checkout has not."""
    lost = []
    for file, name in cited(page):
        path = ROOT / file
        if not path.exists() or (name is not None and (path.is_dir() or name not in defined(path))):
            lost.append(f"{file}:{name}")
    return lost


@pytest.mark.parametrize("page", NAMES)
def test_every_name_that_a_page_cites_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert len(cited(text)) >= 12
    assert missing(text) == []


def test_a_name_that_is_gone_is_found() -> None:
    row = "| Eq. 1 | `dreamlayer_jax/compositing.py:composite`, `gone` | `tests/test_docs.py::test_gone`, `tests/gone.py` |"
    assert missing(row) == ["dreamlayer_jax/compositing.py:gone", "tests/test_docs.py:test_gone", "tests/gone.py:None"]


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them: lower case, signs left out, a hyphen for a space."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        to = (page.parent / file) if file else page
        assert to.exists(), f"{page.name} links {target}"
        assert not anchor or anchor in anchors(to), f"{page.name} links {target}, and {to.name} has no such heading"
