"""A folder of pictures to results and a data set: everything accounted for, the same bytes however it was divided, nothing done twice."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.__main__ import main
from data.peel.assemble import AssemblyRules, chosen_ids, shards
from data.peel.filters import FilterRules
from data.peel.ingest import IngestRules
from data.peel.oracle import SceneOracles
from data.peel.peel import PeelSettings
from data.peel.report import report
from data.peel.run import Run, account, part_of, peel_all
from data.peel.source import ResultSource
from data.peel.stages import Stages, Wanted
from data.scenes import compose
from data.tfds_builder import StoredScenes, build_pictures
from data.world import shapes_world

SETTINGS = PeelSettings(filters=FilterRules(check_sharpness=False, min_inside_db=0, max_soft=1))
RULES = IngestRules(min_side=32)
SIDE = 48


class Truth(SceneOracles):
    """Counts how often stages are asked for."""

    calls = 0

    def __call__(self, picture: np.ndarray, wanted: Wanted) -> Stages:
        self.calls += 1
        return super().__call__(picture, wanted)


def add(truth: Truth, folder: Path, seed: int) -> str:
    return truth.write(compose(shapes_world(), seed, size=SIDE, k=2 + seed % 3, split="held_out"), folder)


@pytest.fixture
def truth_and_folder(tmp_path: Path) -> tuple[Truth, Path]:
    truth, folder = Truth(), tmp_path / "pictures"
    folder.mkdir()
    for seed in range(4):
        add(truth, folder, seed)
    return truth, folder


@pytest.fixture
def run_in(truth_and_folder, tmp_path: Path) -> Callable[[str], Run]:
    truth, folder = truth_and_folder
    return lambda name: Run(pictures=folder, work=tmp_path / name, stages=truth, settings=SETTINGS, rules=RULES)


def digests(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*.*"))}


def test_parts_and_the_whole_are_the_same_bytes(run_in, tmp_path) -> None:
    whole, parts = run_in("whole"), run_in("parts")
    inputs = whole.begin()
    peel_all(whole, inputs)
    for i in (2, 1):
        peel_all(parts, part_of(parts.begin(), (i, 2)))
    assert digests(whole.work / "results") == digests(parts.work / "results")
    rules, built = AssemblyRules(shard_bytes=20_000), []
    for run in (whole, parts):
        found = account(run, inputs)
        assert found.counts == {"accepted": 4}
        ids, left_out = chosen_ids(run.work, list(found.ids.values()), rules)
        assert not left_out
        built.append(build_pictures(shards(run.work, ids, rules), tmp_path / f"{run.work.name}_set"))
    assert digests(built[0]) == digests(built[1])
    assert len(list(built[0].glob("*array_record*"))) > 1
    stored = StoredScenes(built[0])
    assert sorted(len(stored[n]["rgba"]) for n in range(len(stored))) == [2, 2, 3, 4]
    text = report(whole, found, left_out, len(ids))
    assert "| accepted | 4 | 100.0% |" in text
    assert "| 2 | 2 | 50.0% | 74.9% |" in text


def test_an_index_of_more_than_ten_shards_is_right(run_in, tmp_path) -> None:
    run = run_in("work")
    for seed in range(4, 12):
        add(run.stages, run.pictures, seed)
    inputs = run.begin()
    peel_all(run, inputs)
    ids = list(account(run, inputs).ids.values())
    rules = AssemblyRules(shard_bytes=1)
    stored = StoredScenes(build_pictures(shards(run.work, ids, rules), tmp_path / "set"))
    assert len(stored) == 12
    assert len({stored[n]["global"].tobytes() for n in range(12)}) == 12


def test_what_is_done_is_not_done_again_and_what_failed_is(run_in) -> None:
    run = run_in("work")
    inputs = run.begin()
    failing = dataclasses.replace(run, stages=Truth())  # knows no picture: KeyError, an exception of the program
    failing.one(inputs[0])
    assert account(failing, inputs[:1]).counts == {"failed": 1}
    peel_all(run, inputs)
    assert run.stages.calls == 4
    peel_all(run, inputs)
    assert run.stages.calls == 4
    added = add(run.stages, run.pictures, 9)
    peel_all(run, run.begin())
    assert run.stages.calls == 5
    assert account(run, run.begin()).outcomes[added].status == "accepted"


def test_other_settings_are_refused_and_both_are_named(run_in) -> None:
    run = run_in("work")
    run.begin()
    other = dataclasses.replace(run, settings=dataclasses.replace(SETTINGS, skirt=0.1))
    with pytest.raises(ValueError, match=f"digest {run.digest}, now {other.digest}"):
        other.begin()
    assert other.begin(redo=True)


def test_a_part_that_has_not_run_is_named(run_in) -> None:
    run = run_in("work")
    inputs = run.begin()
    peel_all(run, part_of(inputs, (1, 2)))
    with pytest.raises(ValueError, match=r"2 of 4 pictures have no result yet, 1\.png"):
        account(run, inputs)


def spoil(folder: Path) -> dict[str, str]:
    """One of each kind of bad input, with the reason that it is refused for."""
    fine = {"background": "a room", "foregrounds": ["a ball"]}
    plain = Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8))
    reasons = {
        "empty.png": "unreadable", "text.jpg": "unreadable", "cut.jpg": "unreadable", "bomb.png": "unreadable", "loop.png": "unreadable",
        "clear.png": "transparent", "moving.webp": "animated", "tiny.png": "too small", "long.png": "too long and narrow",
        "grey.png": "of one colour", "unnamed.png": "no prompts", "wrong.png": "no prompts", "twice.png": "same picture twice",
    }  # fmt: skip
    for name in reasons:
        (folder / name).with_suffix(".json").write_text(json.dumps(fine))
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("no picture")
    plain.save(folder / "cut.jpg")
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:400])
    Image.new("1", (20_000, 20_000)).save(folder / "bomb.png")
    (folder / "loop.png").symlink_to("loop.png")
    Image.fromarray(np.dstack([np.asarray(plain), np.full((SIDE, SIDE), 90, np.uint8)])).save(folder / "clear.png")
    plain.save(folder / "moving.webp", save_all=True, append_images=[plain.rotate(90)])
    plain.crop((0, 0, 1, 1)).save(folder / "tiny.png")
    Image.fromarray(np.tile(np.asarray(plain), (1, 4, 1))).save(folder / "long.png")
    Image.new("RGB", (SIDE, SIDE), (99, 98, 97)).save(folder / "grey.png")
    plain.save(folder / "unnamed.png")
    (folder / "unnamed.json").unlink()
    plain.rotate(90).save(folder / "wrong.png")
    (folder / "wrong.json").write_text('{"background": "a room", "foregrounds": [3]}')
    (folder / "twice.png").write_bytes((folder / "0.png").read_bytes())
    (folder / "twice.json").write_text((folder / "0.json").read_text())
    return reasons


def test_bad_inputs_have_their_reasons_and_leave_the_good_ones_bytes(run_in) -> None:
    alone, together = run_in("alone"), run_in("together")
    peel_all(alone, alone.begin())
    reasons = spoil(together.pictures)
    inputs = together.begin()
    peel_all(together, inputs)
    found = account(together, inputs)
    assert {source: found.outcomes[source].reason for source in reasons} == reasons
    assert found.counts == {"accepted": 4, "rejected": len(reasons)}
    assert sum(found.counts.values()) == len(inputs)
    assert digests(alone.work / "results") == digests(together.work / "results")


def test_a_caption_is_split_and_a_list_names_pictures(run_in, truth_and_folder) -> None:
    _, folder = truth_and_folder
    (folder / "0.json").unlink()
    (folder / "prompts.jsonl").write_text('{"file": "0.png", "caption": "a red ball in a green room"}\n')
    seen: list[Wanted] = []
    run = run_in("work")

    class Listening:
        described = "listening"

        def __call__(self, picture: np.ndarray, wanted: Wanted) -> Stages:
            seen.append(wanted)
            raise RuntimeError

    dataclasses.replace(run, stages=Listening()).one("0.png")
    assert seen == [Wanted(background="a green room", foregrounds=("a red ball",))]
    (folder / "prompts.jsonl").write_text("{\n")
    with pytest.raises(ValueError, match=r"prompts\.jsonl, line 1"):
        dataclasses.replace(run, stages=Listening()).one("0.png")


def test_reviews_and_shares_are_obeyed(run_in) -> None:
    run = run_in("work")
    inputs = run.begin()
    peel_all(run, inputs)
    ids = list(account(run, inputs).ids.values())
    (run.work / "reviews.jsonl").write_text(json.dumps({"id": ids[0], "keep": False, "why": "a hand is cut"}) + "\n")
    kept, left_out = chosen_ids(run.work, ids, AssemblyRules())
    assert set(ids) - set(kept) == {ids[0]}
    assert left_out == {"refused by review": 1}
    word = account(run, inputs).outcomes[inputs[1]].prompts[1].split()[-1]
    fewer, left_out = chosen_ids(run.work, ids, AssemblyRules(at_most=(f"{word}=0",)))
    assert left_out[f"over {word}=0"] >= 1
    assert len(fewer) < len(kept)
    with pytest.raises(ValueError, match="NAME=SHARE"):
        chosen_ids(run.work, ids, AssemblyRules(at_most=("person",)))


def test_a_sheet_shows_the_accepted_with_their_ids(run_in, tmp_path) -> None:
    run = run_in("work")
    inputs = run.begin()
    peel_all(run, inputs)
    source = ResultSource(run.work)
    assert source.ids == tuple(sorted(account(run, inputs).ids.values()))
    example = source[1]
    assert example["id"] == source.ids[1]
    assert example["rgba"].shape == (len(example["prompts"]), SIDE, SIDE, 4)
    out = tmp_path / "sheet.png"
    command = ["preview", "--layered", str(run.work), "--out", str(out)]
    assert main([*command, "--count", "3", "--first", "2"]) == 0
    drawn = np.asarray(Image.open(out))
    assert drawn.shape[0] == 2 * (192 + 26) + 8, "two rows: the third and the fourth"
    np.testing.assert_array_equal(drawn[8 : 8 + 192 : 4, 8 : 8 + 192 : 4], source[2]["global"])
    assert main([*command, "--first", "4"]) == 1
    with pytest.raises(ValueError, match="no accepted picture"):
        ResultSource(tmp_path)
