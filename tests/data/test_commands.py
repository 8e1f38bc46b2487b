"""`python -m data`: preview and build. Building has a process of its own; so has reading back, where TensorFlow cannot be found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.__main__ import main

REPOSITORY = Path(__file__).resolve().parents[2]


def test_preview_writes_a_sheet(tmp_path, capsys):
    out = tmp_path / "new" / "sheet.png"
    assert main(["preview", "--out", str(out), "--world", "shapes", "--count", "2", "--size", "32"]) == 0
    assert str(out) in capsys.readouterr().out
    assert [path.name for path in out.parent.iterdir()] == ["sheet.png"]
    sheet = np.asarray(Image.open(out))
    assert sheet.shape[1] > 6 * 192
    assert sheet.std() > 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "sheet.jpg"], "ends in .png"),
        (["--out", "sheet.png", "--world", "folder"], "--objects"),
        (["--out", "sheet.png", "--world", "shapes", "--objects", "."], "--world folder"),
        (["--out", "sheet.png", "--world", "shapes", "--layers", "10"], "k = 10"),
        (["--out", "sheet.png", "--world", "shapes", "--max-objects", "9"], "give 1 to 8"),
        (["--out", "sheet.png", "--world", "shapes", "--count", "0"], "give 1 to"),
        (["--out", "sheet.png", "--world", "shapes", "--count", "1" + "0" * 22], "more than a sheet can show; give at most 200"),
        (["--out", "sheet.png", "--layered", "nowhere"], "nowhere is not a folder"),
    ],
)
def test_mistakes_end_in_one_line_and_write_nothing(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["preview", *options]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


READ_WITHOUT_TENSORFLOW = """
import sys
from importlib.machinery import PathFinder

class WithoutTensorFlow(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] == "tensorflow" else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutTensorFlow

import numpy as np
from data.loader import scene_loader
from data.source import SceneSource
from data.tfds_builder import StoredScenes
from data.world import shapes_world

for split, count in (("train", 5), ("held_out", 3)):
    stored = StoredScenes(sys.argv[1], split)
    composed = SceneSource(shapes_world(), range(count), size=32, split=split)
    assert len(stored) == count
    for n in range(count):
        example = stored[n]
        for key, value in composed[example["seed"]].items():
            np.testing.assert_array_equal(example[key], value)
            assert isinstance(example[key], type(value)), key
    batch = next(iter(scene_loader(stored, batch_size=count)))
    assert sorted(batch["seed"].tolist()) == list(range(count))
assert "tensorflow" not in sys.modules
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run([sys.executable, *command], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)


def test_a_built_data_set_is_read_without_tensorflow(tmp_path):
    build = ("-m", "data", "build", "--out", str(tmp_path), "--world", "shapes", "--size", "32", "--scenes", "5", "--held-out", "3")
    built = run(*build)
    assert built.returncode == 0, built.stderr
    (folder,) = tmp_path.glob("layered_scenes/*")
    assert str(folder) in built.stdout
    assert "array_record" in (folder / "dataset_info.json").read_text()

    read = run("-c", READ_WITHOUT_TENSORFLOW, str(folder))
    assert read.returncode == 0, read.stderr

    again = run(*build)
    assert again.returncode == 1
    assert "already holds a data set" in again.stderr
    assert "Traceback" not in again.stderr
