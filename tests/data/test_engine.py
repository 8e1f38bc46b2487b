"""Whoever does the work, it is the same work; Apache Beam's part needs Apache Beam (`make test-beam`)."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from pathlib import Path

import pytest

from data.__main__ import main
from data.composed import made
from data.engine import Engine
from data.peel.filters import FilterRules
from data.peel.ingest import IngestRules
from data.peel.oracle import SceneOracles
from data.peel.peel import PeelSettings
from data.peel.run import Run, account
from data.scenes import compose
from data.source import SceneSource
from data.world import shapes_world

BEAM = importlib.util.find_spec("apache_beam") is not None
needs_beam = pytest.mark.skipif(not BEAM, reason="Apache Beam is an extra of its own: make test-beam")
pytestmark = pytest.mark.filterwarnings("ignore" if BEAM else "error")  # Beam's own
ENGINES = {
    "one worker": Engine(workers=1),
    "two workers": Engine(workers=2),
    "three workers": Engine(workers=3),
    "two threads": Engine(options=("--direct_num_workers=2", "--direct_running_mode=multi_threading")),
}


@pytest.fixture(scope="module")
def truth_and_folder(tmp_path_factory) -> tuple[SceneOracles, Path]:
    truth, folder = SceneOracles(), tmp_path_factory.mktemp("pictures")
    for seed in range(6):
        truth.write(compose(shapes_world(), seed, size=48, k=2 + seed % 3, split="held_out"), folder)
    (folder / "no picture é.png").write_bytes(b"")
    return truth, folder


def peeled(truth_and_folder: tuple[SceneOracles, Path], work: Path, engine: Engine) -> dict[str, str]:
    """Every file that is the pictures' own, by name, with the digest of its bytes."""
    truth, folder = truth_and_folder
    settings = PeelSettings(filters=FilterRules(check_sharpness=False, min_inside_db=0, max_soft=1))
    run = Run(pictures=folder, work=work, stages=truth, settings=settings, rules=IngestRules(min_side=32))
    inputs, done = run.begin(), []
    engine.each(run.one, inputs, run.work, is_done=functools.partial(run.noted_since, 0), on_done=lambda: done.append(1))
    assert account(run, inputs).counts == {"accepted": 6, "rejected": 1}
    assert len(done) == 7
    assert not list(work.rglob(".*"))
    files = [path for name in ("results", "inputs") for path in sorted((work / name).rglob("*.*"))]
    return {str(path.relative_to(work)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def alone(truth_and_folder, tmp_path_factory) -> dict[str, str]:
    return peeled(truth_and_folder, tmp_path_factory.mktemp("alone"), Engine())


@needs_beam
@pytest.mark.parametrize("name", ENGINES)
def test_any_workers_make_the_same_bytes(name, truth_and_folder, alone, tmp_path) -> None:
    assert peeled(truth_and_folder, tmp_path, ENGINES[name]) == alone


def test_this_process_makes_them_too(truth_and_folder, alone, tmp_path) -> None:
    assert peeled(truth_and_folder, tmp_path, Engine()) == alone
    assert len(alone) == 13


REFUSED = [
    (["--workers", "-1"], [], "give 0"),
    (["--workers", "2"], ["--runner", "FlinkRunner"], "--workers is of the local runner"),
    ([], ["--runner", "DataflowRunner"], "--sdk_container_image"),
    ([], ["FlinkRunner"], "begins with an option"),
]


@needs_beam
@pytest.mark.parametrize(("ours", "beams", "message"), REFUSED)
def test_what_cannot_be_is_told_in_one_line(ours, beams, message, truth_and_folder, tmp_path, capsys) -> None:
    models = ["--models.detect", ".", "--models.segment", ".", "--models.depth", ".", "--models.matte", ".", "--models.fill", "smooth"]
    command = ["from-pictures", str(truth_and_folder[1]), "--out", str(tmp_path), "--work", str(tmp_path / "work"), *models, *ours]
    assert main([*command, "--", *beams] if beams else command) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.skipif(BEAM, reason="Apache Beam is here")
def test_without_beam_its_extra_is_named(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"\[beam\]"):
        Engine(workers=1).each(print, ["a"], tmp_path, is_done=bool)


def test_beams_options_are_no_other_commands(capsys, tmp_path) -> None:
    assert main(["preview", "--out", str(tmp_path / "a.png"), "--", "--runner", "FlinkRunner"]) == 1
    assert "does nothing with Apache Beam's options" in capsys.readouterr().err


@needs_beam
def test_composed_scenes_are_the_same_data_set_and_a_stopped_build_goes_on(tmp_path, capsys) -> None:
    command = ["build", "--world", "shapes", "--size", "32", "--scenes", "5", "--held-out", "2", "--max-objects", "5"]
    assert main([*command, "--out", str(tmp_path / "alone")]) == 0
    out = tmp_path / "beam"
    source = SceneSource(shapes_world(), range(5), size=32, layers=(2, 3, 4, 5, 6))
    settings = {"world": "shapes", "objects": None, "backgrounds": None, "layered": None, "size": 32, "seed": 0, "layers": source.layers}
    made({"train": source}, out / "layered_scenes.work", Engine(), settings)
    assert main([*command, "--size", "48", "--workers", "1", "--out", str(out)]) == 1
    assert "other settings" in capsys.readouterr().err
    assert main([*command, "--workers", "1", "--out", str(out)]) == 0
    folders = [next((tmp_path / name).glob("layered_scenes/*")) for name in ("alone", "beam")]
    assert len(list(folders[0].glob("*array_record*"))) == 2
    for path in folders[0].iterdir():
        assert path.read_bytes() == (folders[1] / path.name).read_bytes(), path.name
    assert [path.name for path in out.iterdir() if path.is_dir()] == ["layered_scenes"]
    assert main([*command, "--workers", "1", "--out", str(out)]) == 1
    assert "already holds a data set" in capsys.readouterr().err
