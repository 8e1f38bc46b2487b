"""Pictures taken apart by a program that is killed for real and started again: the same bytes, nothing done twice, nothing left.

`make kills` does it 20 times (KILLS=20).
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import subprocess
import sys
import textwrap
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
KILLS = int(os.environ.get("KILLS", "3"))
PATIENCE = 120.0

log = logging.getLogger(__name__)

# One program is started for all kills. Each line that it reads is a fork of it, which goes on with the pictures; when all are done it makes
# them all again, over the old ones, until it is killed. "finish" is a fork that goes on, and ends.
PROGRAM = """
    import os, shutil, sys
    from pathlib import Path
    from data.from_pictures import run_all
    from data.peel.assemble import AssemblyRules
    from data.peel.filters import FilterRules
    from data.peel.ingest import IngestRules, ingest
    from data.peel.oracle import SceneOracles
    from data.peel.peel import PeelSettings
    from data.peel.result import read_outcome
    from data.peel.run import Run
    from data.scenes import compose
    from data.world import shapes_world
    import data.tfds_builder
    say = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # TFDS prints
    here = Path(sys.argv[1])
    known, pictures = SceneOracles(), here / "pictures"
    pictures.mkdir(exist_ok=True)
    for seed in range(8):
        known.write(compose(shapes_world(), seed, size=48, k=2 + seed % 3, split="held_out"), pictures)
    redo = False

    class Watched:
        described = "oracle"

        def __call__(self, picture, wanted):
            id = next(id for id, other in ids.items() if other == picture.tobytes())
            if not redo and read_outcome(run.work, id) is not None:
                (here / "done_twice").touch()
            return known(picture, wanted)

    settings = PeelSettings(filters=FilterRules(check_sharpness=False, min_inside_db=0, max_soft=1))
    rules = IngestRules(min_side=32)
    items = [ingest(pictures, path.name, {}, rules) for path in sorted(pictures.glob("*.png"))]
    ids = {item.id: item.picture.tobytes() for item in items}
    run = Run(pictures=pictures, work=here / "work", stages=Watched(), settings=settings, rules=rules)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            print(os.getpid(), file=say, flush=True)
            while True:
                redo = line != "finish\\n" and all(read_outcome(run.work, id) is not None for id in ids)
                shutil.rmtree(here / "set" / "layered_pictures" / "1.0.0", ignore_errors=True)
                run_all(run, here / "set", AssemblyRules(shard_bytes=20_000), redo=redo)
                if line == "finish\\n":
                    os._exit(0)
        print(os.waitpid(child, 0)[1], file=say, flush=True)
"""


def program(folder: Path) -> subprocess.Popen[str]:
    folder.mkdir()
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(PROGRAM), str(folder)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def told(running: subprocess.Popen[str], line: str = "") -> int:
    if line:
        running.stdin.write(f"{line}\n")
        running.stdin.flush()
    return int(running.stdout.readline())


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.*"))
        if path.is_file()
    }


def test_killed_at_any_moment_it_ends_in_the_same_bytes(tmp_path: Path) -> None:
    with program(tmp_path / "whole") as undisturbed:
        told(undisturbed, "finish")
        assert told(undisturbed) == 0
        undisturbed.stdin.close()
    expected = digests(tmp_path / "whole" / "work" / "results")
    assert len(expected) == 8
    work, moments, half = tmp_path / "killed" / "work", random.Random("peel"), 0
    with program(tmp_path / "killed") as killed:
        for number in range(KILLS):
            writer, end = told(killed, "go"), time.monotonic() + PATIENCE
            while number % 2 == 0 and not list(work.glob("*/*/.*.new")):
                assert time.monotonic() < end, "it never wrote"
                time.sleep(0.0005)
            time.sleep(moments.uniform(0, 0.01 if number % 2 == 0 else 0.5))
            os.kill(writer, 9)
            assert told(killed) == 9, "it ended by itself"
            half += any(True for _ in work.rglob(".*.new"))
            found = digests(work / "results")
            assert {name: digest for name, digest in found.items() if "/." not in name}.items() <= expected.items()
        told(killed, "finish")
        assert told(killed) == 0
        killed.stdin.close()
    assert digests(work / "results") == expected
    assert digests(tmp_path / "killed" / "set") == digests(tmp_path / "whole" / "set")
    assert not (tmp_path / "killed" / "done_twice").exists()
    assert not [path for path in (tmp_path / "killed").rglob("*") if path.name.startswith((".", "incomplete"))]
    log.info("%d kills, %d of them with something half written: results and data set equal", KILLS, half)
