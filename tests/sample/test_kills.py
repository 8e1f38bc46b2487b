"""Killed for real, at any moment, while saving, exporting and editing: whole old or whole new, and nothing left that is not found again.

`make kills` does it 200 times (KILLS=200): 90 while saving, 90 while exporting, 20 while editing; training's kills are in `tests/train`.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from psd_tools import PSDImage

from dreamlayer_jax import LayeredImage
from dreamlayer_jax.files import recover
from dreamlayer_jax.layer_axis import Role
from dreamlayer_jax.scene import Layer

REPOSITORY = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("KILLS", "12"))

log = logging.getLogger(__name__)

# One program is started for many kills: each writer is a fork of it, which says when it begins, and writes until it is killed.
WRITERS = """
    import os, sys
    from pathlib import Path
    import numpy as np
    from dreamlayer_jax import LayeredImage, files
    from dreamlayer_jax.export.editor_file import write_editor_file
    what, source, target, exchanges = sys.argv[1:]
    image = LayeredImage.load(source)
    if exchanges == "no":
        files._renameat2 = lambda: None
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            print(os.getpid(), flush=True)
            while True:
                if what == "save":
                    image.save(target, overwrite=True)
                else:
                    write_editor_file(image, target, overwrite=True)
        os.waitpid(child, 0)
        print("killed", flush=True)
"""


def image() -> LayeredImage:
    rgba = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 4), dtype=np.uint8)
    rgba[0, ..., 3] = 255
    return LayeredImage(
        layers=(
            Layer(prompt="a beach", role=Role.BACKGROUND, rgba_straight=rgba[0]),
            Layer(prompt="a dog", role=Role.FOREGROUND, rgba_straight=rgba[1]),
        ),
        global_rgb=rgba[0, ..., :3],
        context_maps=np.zeros((1, 4, 4), np.float32),
        seed=0,
        model="by hand",
    )


def whole_scene(folder: Path) -> None:
    loaded = LayeredImage.load(folder)
    assert {path.name for path in folder.iterdir()} == {*json.loads((folder / "scene.json").read_text())["files"], "scene.json"}
    np.testing.assert_array_equal(loaded.layers[1].rgba_straight, image().layers[1].rgba_straight)


def whole_file(file: Path) -> None:
    recover(file)
    np.testing.assert_array_equal(np.asarray(PSDImage.open(file).topil()), image().blend)


@pytest.mark.parametrize("exchanges", ["yes", "no"])
@pytest.mark.parametrize(("what", "name", "check"), [("save", "scene", whole_scene), ("export", "a.psd", whole_file)])
def test_killed_while_writing(tmp_path: Path, what: str, name: str, check: Callable[[Path], None], exchanges: str) -> None:
    image().save(tmp_path / "source")
    target = tmp_path / "out" / name
    moments, half = random.Random(f"{what} {exchanges}"), 0
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(WRITERS), what, str(tmp_path / "source"), str(target), exchanges]
    program = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    kills = max(2, round(KILLS * 0.225))
    with program:
        for _ in range(kills):
            program.stdin.write("go\n")
            program.stdin.flush()
            writer = int(program.stdout.readline())
            while not target.exists():
                time.sleep(0.001)
            try:
                program.wait(moments.uniform(0, 0.05))
            except subprocess.TimeoutExpired:
                os.kill(writer, signal.SIGKILL)
            assert program.stdout.readline() == "killed\n"
            half += any(path.name.startswith(".") for path in target.parent.iterdir())
            check(target)
            assert [path.name for path in target.parent.iterdir()] == [name]
        program.stdin.close()
    log.info(
        "%d kills while %s (exchange in one call: %s), %d of them with something half written: all whole", kills, what, exchanges, half
    )


def test_killed_while_editing(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> None:
    """The whole command, killed at any moment of its last part: the scene that it replaces is whole, old or new."""
    from dreamlayer_jax.cli.main import main

    scene, out = tmp_path / "scene", tmp_path / "out"
    generated = ["generate", "--background", "a sandy beach", "--foreground", "a dog", "--steps", "2", "--weights", str(tiny_folder)]
    assert main([*generated, "--out", str(scene)]) == 0
    edit = ["edit", str(scene), "--flip", "1", "--weights", str(tiny_folder), "--out", str(out), "--overwrite"]
    assert main(edit) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    moments, kills, late = random.Random("edit"), max(1, KILLS // 10), 0
    command = [sys.executable, "-m", "sample", *edit]
    # A killed writer spoils the cache that tests share.
    own_cache = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled"))}
    for _ in range(kills):
        program = subprocess.Popen(command, cwd=REPOSITORY, env=own_cache, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        while program.poll() is None and not any(path.name.startswith(".out.") for path in tmp_path.iterdir()):
            time.sleep(0.001)
        try:
            program.wait(moments.uniform(0, 0.05))
            late += 1
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()
        program.stdout.close()
        LayeredImage.load(out)
        assert {path.name: path.read_bytes() for path in out.iterdir()} == before  # the same edit makes the same bytes
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "scene"]
    log.info("%d kills while editing, %d of them too late: all whole", kills, late)
