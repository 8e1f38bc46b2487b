"""The built wheel, used outside the checkout: it holds the library, the shipped weights and the command, and none of the programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

from dreamlayer_jax.compositing import from_uint8
from dreamlayer_jax.layered_image import LayeredImage
from sample.evaluate.probe import load_probe
from sample.evaluate.scoring import probe_values
from tests.oldest import oldest

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


def run(command: list[str], cwd: Path, path: Path | str = "") -> str:
    """What a command says on standard output, with `path` as the only place besides the environment's own that modules come from."""
    environment = {**os.environ, "PYTHONPATH": str(path)}
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_every_module_and_the_shipped_weights(wheel: Path) -> None:
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    library = ROOT / "dreamlayer_jax"
    modules = {str(path.relative_to(ROOT)) for path in library.rglob("*.py")}
    shipped = {str(path.relative_to(ROOT)) for path in (library / "weights" / "pocket").rglob("*") if path.is_file()}
    assert "dreamlayer_jax/weights/pocket/model.safetensors" in shipped, "the pocket model is not in the checkout"
    page = {str(path.relative_to(ROOT)) for path in (library / "studio" / "page").iterdir()}
    assert packed == modules | shipped | page


def test_the_oldest_releases_that_are_tried_are_those_that_the_wheel_allows(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(metadata).decode().splitlines()
    required = [Requirement(line.removeprefix("Requires-Dist:")) for line in lines if line.startswith("Requires-Dist:")]
    floors = oldest()
    assert {one.name for one in required} == set(floors)
    for requirement in required:
        assert requirement.extras or requirement.specifier.contains(floors[requirement.name]), str(requirement)


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel installed by pip into a folder of its own, with its commands in `bin`; its dependencies are the tests'."""
    site = tmp_path_factory.mktemp("site")
    run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel)], cwd=site)
    return site


def test_the_library_is_read_from_the_wheel(site: Path, tmp_path: Path) -> None:
    program = "import dreamlayer_jax; from dreamlayer_jax import DreamLayer, Layer, LayeredImage; print(dreamlayer_jax.__file__)"
    assert run([sys.executable, "-c", program], cwd=tmp_path, path=site).startswith(str(site))


def test_the_console_command_draws_what_is_asked_with_the_shipped_model(site: Path, tmp_path: Path) -> None:
    """Outside the checkout. The probe that measures the model names the dog in its layer and finds it at its place in the whole."""
    asked = ["--background", "a sandy beach", "--foreground", "a dog", "--steps", "8", "--no-harmonize"]
    run([str(site / "bin" / "dreamlayer"), "generate", *asked, "--out", str(tmp_path / "out")], cwd=tmp_path, path=site)
    image = LayeredImage.load(tmp_path / "out")
    probe = load_probe()
    layers = from_uint8(np.stack([layer.rgba_straight for layer in image.layers]))
    alpha = layers[..., 3:]
    pictures = np.concatenate([layers[..., :3] * alpha + 0.5 * (1 - alpha), from_uint8(image.global_rgb[None])])
    values = probe_values(probe.probabilities(pictures), alpha[1:, ..., 0], [probe.names.index("dog")])
    assert values["agreement_foreground"] == values["background_free"] == values["one_object"] == [1.0]
    assert values["layout_iou"][0] > 0.5


def test_the_command_names_itself_in_what_it_tells_the_user_to_type(site: Path, tmp_path: Path) -> None:
    said = run([str(site / "bin" / "dreamlayer"), "--help"], cwd=tmp_path, path=site)
    assert said.startswith("usage: dreamlayer ")
    assert "evaluate" not in said, "which needs the held-out scenes of a checkout"
