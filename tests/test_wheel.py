"""The built wheel, imported outside the checkout: it holds the library and the shipped weights, and none of the programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that the checkout gets no build folder and a stale one in it cannot leak in."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "dreamlayer_jax", source / "dreamlayer_jax", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for program in ("data", "train", "sample"):
        (source / program).mkdir()
        (source / program / "__init__.py").touch()
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(source / "dist"), str(source)], cwd=source)
    (built,) = (source / "dist").glob("*.whl")
    return built


def run(command: list[str], cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": ""})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_every_module_and_the_shipped_weights(wheel: Path) -> None:
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    library = ROOT / "dreamlayer_jax"
    modules = {str(path.relative_to(ROOT)) for path in library.rglob("*.py")}
    shipped = {str(path.relative_to(ROOT)) for path in (library / "weights" / "pocket").rglob("*") if path.is_file()}
    assert "dreamlayer_jax/weights/pocket/model.safetensors" in shipped, "the pocket model is not in the checkout"
    assert packed == modules | shipped


def test_the_wheel_works_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    program = f"""
import sys
sys.path.insert(0, {str(site)!r})
import dreamlayer_jax
assert dreamlayer_jax.__file__.startswith({str(site)!r}), dreamlayer_jax.__file__
from dreamlayer_jax import DreamLayer, Layer, LayeredImage
print(DreamLayer.from_pretrained("pocket").config.name)
"""
    assert run([sys.executable, "-c", program], cwd=tmp_path).strip() == "pocket"
