"""A harmonised scene of four layers that is hard on editors, and the programs of others that must read what we write."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from dreamlayer_jax import Layer, LayeredImage
from dreamlayer_jax.layer_axis import Role

SIZE = (80, 112)
PROMPTS = ("a sandy beach", 'ein Käfer & <ein> "Fuß"', "一只狗", "a red apple")


def soft_disc(centre: tuple[int, int], radius: float, colour: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """A disc with a wide soft edge, in noisy colours that differ in every pixel."""
    y, x = np.indices(SIZE)
    distance = np.hypot(y - centre[0], x - centre[1])
    alpha = np.clip((radius - distance) / (radius / 2), 0, 1) * 255
    rgb = np.clip(np.array(colour) + rng.integers(-40, 40, (*SIZE, 3)), 0, 255)
    return np.concatenate([rgb, alpha[..., None]], axis=-1).round().astype(np.uint8)


@pytest.fixture(scope="session")
def scene() -> LayeredImage:
    """Overlapping soft foregrounds, one cut by the border; the composite is darker in a shadow and brighter in a glow."""
    rng = np.random.default_rng(5)
    background = rng.integers(0, 256, (*SIZE, 4), dtype=np.uint8)
    background[..., 3] = 255
    discs = [
        soft_disc((30, 40), 24, (200, 80, 60), rng),
        soft_disc((44, 60), 30, (60, 160, 90), rng),
        soft_disc((70, 108), 20, (120, 90, 220), rng),
    ]
    image = LayeredImage(
        layers=tuple(
            Layer(prompt=prompt, role=Role.FOREGROUND if i else Role.BACKGROUND, rgba_straight=rgba)
            for i, (prompt, rgba) in enumerate(zip(PROMPTS, [background, *discs], strict=True))
        ),
        global_rgb=rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8),
        context_maps=np.zeros((3, 10, 14), np.float32),
        seed=3,
        model="by hand",
    )
    composite = image.blend.astype(float)
    composite[50:70, 20:70] *= rng.uniform(0.2, 1.0, (20, 50, 3))
    composite[5:25, 30:90] += (255 - composite[5:25, 30:90]) * rng.uniform(0.0, 0.6, (20, 60, 3))
    return dataclasses.replace(image, composite_rgb=composite.round().astype(np.uint8))


@pytest.fixture(scope="session")
def run() -> Callable[..., str]:
    """Runs an outside program and gives what it said; a failure is shown with it."""

    def run(*command: object, **environment: str) -> str:
        done = subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, check=False, timeout=540, env={**os.environ, **environment}
        )
        assert done.returncode == 0, f"{command[0]} failed with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    return run


def needs(program: str | None, package: str) -> str:
    """The program's path; without it the test is skipped, or fails where DREAMLAYER_CI says that it must be there."""
    if program is None:
        why = f"needs Debian's {package}"
        pytest.fail(f"{why}, which .ci/run should install") if os.environ.get("DREAMLAYER_CI") else pytest.skip(why)
    return program


@pytest.fixture(scope="session")
def imagemagick() -> str:
    """`convert` of release 6, or `magick` of release 7; other programs have these names too."""
    for name in ("magick", "convert"):
        path = shutil.which(name)
        if path and "ImageMagick" in subprocess.run([path, "-version"], capture_output=True, text=True, check=False).stdout:
            return path
    return needs(None, "imagemagick")


@pytest.fixture(scope="session")
def display() -> Iterator[str]:
    """An X display without a screen, for all tests of a worker: the server itself picks a free number and says it when it is ready."""
    with subprocess.Popen(
        [needs(shutil.which("Xvfb"), "xvfb"), "-displayfd", "1", "-nolisten", "tcp"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        number = server.stdout.readline().strip()
        assert number, f"Xvfb ended with {server.wait()}"
        yield f":{number}"
        server.terminate()


@pytest.fixture(scope="session")
def krita(run: Callable[..., str], display: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, Path], None]:
    """`krita(file, png)` opens a file in Krita and exports what it shows. Krita needs a display, and fills a home of its own at first."""
    program, home = needs(shutil.which("krita"), "krita"), str(tmp_path_factory.mktemp("krita"))
    places = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"), home)

    def export(file: Path, png: Path) -> None:
        said = run(program, "--export", "--export-filename", png, file, DISPLAY=display, **places)
        assert png.is_file(), said

    return export
