"""The arrows between the rooms: who may import whom. Read from the source, so that an import inside a function counts too."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("dreamlayer_jax", "data", "train", "sample", "benchmarks", "tests")

ALLOWED = {
    "dreamlayer_jax": ("dreamlayer_jax",),
    "data": ("data", *(f"dreamlayer_jax.{ground}" for ground in ("compositing", "files", "picture", "planner", "scene_json"))),
    "train": ("train", "data", "dreamlayer_jax"),
    "sample": ("sample", "dreamlayer_jax"),
    "benchmarks": ("benchmarks", "train", "sample", "data", "dreamlayer_jax"),
}
EVALUATION = "sample/evaluate"  # the one part of `sample` that reads scenes from `data`
PAINTERS = ("data/from_pictures.py", "data/peel/painting.py", "data/peel/networks.py")  # the parts of `data` that run a model

# Heavy or foreign libraries: for tests, and for writing a dataset, never for sampling or training.
FOREIGN = ("torch", "diffusers", "tensorflow", "tensorflow_datasets", "keras")
NEVER_FOREIGN = ("dreamlayer_jax", "train", "sample")


def imported(source: str, package: str) -> set[str]:
    """Every dotted name that `source`, a module of `package`, imports anywhere in it; `from a import b` counts as a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def wrong_arrows(path: str, source: str) -> list[str]:
    """Names that the file at `path` (relative to the root) imports although its room may not."""
    room = path.split("/", maxsplit=1)[0]
    allowed = ALLOWED[room] + (("data",) if path.startswith(EVALUATION) else ())
    allowed += ("dreamlayer_jax",) if path in PAINTERS else ()
    wrong = []
    for name in sorted(imported(source, ".".join(path.split("/")[:-1]))):
        ours = any(within(name, other) for other in ROOMS)
        if (ours and not any(within(name, one) for one in allowed)) or (
            room in NEVER_FOREIGN and any(within(name, foreign) for foreign in FOREIGN)
        ):
            wrong.append(name)
    return wrong


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", ALLOWED)
def test_arrows(room: str) -> None:
    files = sources(room)
    assert files, f"no Python files in {room}/"
    found = {str(path.relative_to(ROOT)): wrong_arrows(str(path.relative_to(ROOT)), path.read_text()) for path in files}
    assert {path: wrong for path, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(
    ("path", "source", "wrong"),
    [
        ("data/scene.py", "from dreamlayer_jax.compositing import over", []),
        ("data/scene.py", "from dreamlayer_jax import compositing", []),
        ("data/scene.py", "import dreamlayer_jax", ["dreamlayer_jax"]),
        ("data/scene.py", "from train import loop", ["train.loop"]),
        ("dreamlayer_jax/a.py", "def f():\n    import data.scene", ["data.scene"]),
        ("dreamlayer_jax/models/a.py", "from . import b\nfrom ..config import sd15\nimport torch.nn", ["torch.nn"]),
        ("train/loop.py", "from data import scene\nimport tensorflow as tf", ["tensorflow"]),
        ("dreamlayer_jax/cli/generate.py", "from sample import evaluate", ["sample.evaluate"]),
        ("sample/generate.py", "import data", ["data"]),
        ("sample/evaluate.py", "import data", []),
        ("sample/generate.py", "import database, dataclasses", []),
    ],
)
def test_a_wrong_arrow_is_found(path: str, source: str, wrong: list[str]) -> None:
    assert wrong_arrows(path, source) == wrong


def test_every_folder_of_the_library_is_a_package() -> None:
    """`packages = find:` leaves out folders without `__init__.py`."""
    folders = {path.parent for path in sources("dreamlayer_jax")}
    assert sorted(str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").is_file()) == []


# The library from the ground up: a room imports rooms of lower floors only, never one of its own floor or above.
FLOORS = (
    ("place", "arrays"),
    ("config", "version", "compositing", "layer_axis", "files"),
    ("prompts", "canvas", "picture", "request", "scene", "metrics", "strict_json"),
    ("scene_json", "memory"),
    ("attention", "planner", "editing", "export"),
    ("models", "layered_image"),
    ("diffusion", "weights"),
    ("model",),
    ("tasks", "stable_diffusion"),
    ("pipeline",),
    ("studio",),
    ("cli",),
)


def library() -> dict[str, set[str]]:
    """Every module of the library, without the package's own face, and the modules of the library that it imports anywhere in it."""
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in sources("dreamlayer_jax")}
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        graph[module] = set()
        for name in imported(path.read_text(encoding="utf-8"), ".".join(path.relative_to(ROOT).parts[:-1])):
            while name and name not in modules:
                name = name.rpartition(".")[0]
            if name and name != module:
                graph[module].add(name)
    return graph


def floor_of(module: str) -> int:
    room = module.split(".")[1]
    return next(i for i, floor in enumerate(FLOORS) if room in floor)


def test_no_import_circle() -> None:
    """Imports for types alone count too: a reader follows them like any other."""
    assert len(list(graphlib.TopologicalSorter(library()).static_order())) == len(library())


def test_no_module_imports_one_above_it() -> None:
    wrong = [
        f"{module} imports {name}"
        for module, names in library().items()
        for name in names
        if "." in module and (name.count(".") == 0 or (name.split(".")[1] != module.split(".")[1] and floor_of(name) >= floor_of(module)))
    ]
    assert wrong == []
