"""The one atomic writer: whole old or whole new, nothing of anyone else's deleted, nothing finished lost, no leftovers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dreamlayer_jax import files
from dreamlayer_jax.files import new_file, new_folder, recover, require_free, require_free_file, write_json, write_text

REPOSITORY = Path(__file__).resolve().parents[1]
LISTING = "scene.json"


def write(folder: Path, text: str, *, overwrite: bool = False) -> None:
    with new_folder(folder, overwrite=overwrite, listing=LISTING) as fresh:
        (fresh / "picture.png").write_text(text)
        (fresh / LISTING).write_text(json.dumps({"files": ["picture.png"]}))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=["in one call", "in two renames"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux exchanges two names in one call; other systems, and other file systems, cannot."""
    if request.param == "in two renames":
        monkeypatch.setattr(files, "_renameat2", lambda: None)


@pytest.mark.usefixtures("either_way")
def test_folders_and_files_are_replaced_whole_and_leave_nothing_beside_them(tmp_path: Path) -> None:
    write(tmp_path / "out", "old")
    with pytest.raises(FileExistsError, match=r"not empty.*--overwrite"):
        write(tmp_path / "out", "new")
    write(tmp_path / "out", "new", overwrite=True)
    assert (tmp_path / "out" / "picture.png").read_text() == "new"
    for text in ("яблоко", "犬"):
        write_text(tmp_path / "a.txt", text)
        write_json(tmp_path / "a.json", {"prompt": text})
    assert (tmp_path / "a.txt").read_bytes() == "犬".encode()
    assert json.loads((tmp_path / "a.json").read_bytes()) == {"prompt": "犬"}
    assert names(tmp_path) == ["a.json", "a.txt", "out"]


def test_json_without_numbers_that_json_has_not(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert names(tmp_path) == []


@pytest.mark.usefixtures("either_way")
def test_without_overwrite_what_appeared_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="what was made is kept as"), new_folder(tmp_path / "out", listing=LISTING) as fresh:  # noqa: PT012
        (fresh / "picture.png").write_text("second")
        write(tmp_path / "out", "first")
    with pytest.raises(FileExistsError, match="what was made is kept as"), new_file(tmp_path / "a.txt") as fresh:  # noqa: PT012
        fresh.write_text("second")
        (tmp_path / "a.txt").write_text("first")
    assert (tmp_path / "out" / "picture.png").read_text() == "first"
    assert (tmp_path / "a.txt").read_text() == "first"
    (kept,) = tmp_path.glob("out.*.kept")
    assert (kept / "picture.png").read_text() == "second"
    assert [path.read_text() for path in tmp_path.glob("a.*.kept.txt")] == ["second"]


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names that may not be renamed to, one refusal for each entry, as while a virus scanner looks at them; no time is spent waiting."""
    rename, left = os.rename, []

    def refuses(source: Path, target: Path) -> None:
        if Path(target).name in left:
            left.remove(Path(target).name)
            raise PermissionError(13, "the file is in use by another program", str(target))
        rename(source, target)

    monkeypatch.setattr(files.os, "rename", refuses)
    monkeypatch.setattr(files, "_renameat2", lambda: None)
    monkeypatch.setattr(files, "WAITS", (0.0,) * 3)
    return left


def test_a_rename_that_is_refused_is_tried_again(tmp_path: Path, refusals: list[str]) -> None:
    write(tmp_path / "out", "old")
    refusals += ["out", "out", "old"]
    write(tmp_path / "out", "new", overwrite=True)
    assert (refusals, (tmp_path / "out" / "picture.png").read_text(), names(tmp_path)) == ([], "new", ["out"])


def test_a_finished_result_that_may_not_take_its_place_is_kept_and_named(tmp_path: Path, refusals: list[str]) -> None:
    write(tmp_path / "out", "old")
    refusals += ["out"] * 4
    with pytest.raises(PermissionError) as caught:
        write(tmp_path / "out", "new", overwrite=True)
    (kept,) = tmp_path.glob("out.*.kept")
    assert f"what was made is kept as {kept}" in str(caught.value)
    assert (kept / "picture.png").read_text() == "new"
    assert (tmp_path / "out" / "picture.png").read_text() == "old"
    assert len(names(tmp_path)) == 2


def test_if_nothing_may_be_renamed_it_stays_where_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise PermissionError(13, "no")

    monkeypatch.setattr(files, "WAITS", ())
    monkeypatch.setattr(files, "_renameat2", lambda: None)
    monkeypatch.setattr(files.os, "rename", refuses)
    with pytest.raises(PermissionError, match=r"kept as .*\.new.new.a\.txt") as caught, new_file(tmp_path / "a.txt") as fresh:
        fresh.write_text("made")
    recover(tmp_path / "a.txt")
    assert Path(str(caught.value).partition("kept as ")[2]).read_text() == "made"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError])
def test_an_interrupted_write_leaves_the_old(tmp_path: Path, interruption: type[BaseException]) -> None:
    write(tmp_path / "out", "old")
    with pytest.raises(interruption), new_folder(tmp_path / "out", overwrite=True, listing=LISTING) as fresh:  # noqa: PT012
        (fresh / "picture.png").write_text("half")
        raise interruption
    assert (tmp_path / "out" / "picture.png").read_text() == "old"
    assert names(tmp_path) == ["out"]


KILLED = """
    import os, signal
    from pathlib import Path
    from dreamlayer_jax import files
    target, moment, one_call = Path({target!r}), {moment!r}, {one_call!r}
    if not one_call:
        files._renameat2 = lambda: None
    renames = []
    def dies(name, rename):
        def call(*arguments):
            if moment == f"before rename {{len(renames)}}":
                os.kill(os.getpid(), signal.SIGKILL)
            renames.append(name)
            result = rename(*arguments)
            if moment == f"after rename {{len(renames) - 1}}":
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        return call
    files.os.rename = dies("rename", os.rename)
    if one_call:
        files._in_one_call = dies("exchange", files._in_one_call)
    with files.new_folder(target, overwrite=True, listing="scene.json") as fresh:
        (fresh / "picture.png").write_text("new")
        if moment == "half":
            os.kill(os.getpid(), signal.SIGKILL)
        (fresh / "scene.json").write_text('{{"files": ["picture.png"]}}')
"""


@pytest.mark.parametrize(
    ("moment", "one_call", "left"),
    [
        ("half", True, "old"),
        ("before rename 0", True, "old"),
        ("after rename 0", True, "new"),
        ("before rename 0", False, "old"),
        ("after rename 0", False, "new"),
        ("after rename 1", False, "new"),
    ],
)
def test_a_killed_writer_leaves_whole_old_or_whole_new_and_the_next_command_tidies_up(
    tmp_path: Path, moment: str, one_call: bool, left: str
) -> None:
    write(tmp_path / "out", "old")
    program = textwrap.dedent(KILLED).format(target=str(tmp_path / "out"), moment=moment, one_call=one_call)
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert any(name.startswith(".out.") for name in names(tmp_path))
    recover(tmp_path / "out")
    assert (tmp_path / "out" / "picture.png").read_text() == left
    assert (tmp_path / "out" / LISTING).is_file()
    assert names(tmp_path) == ["out"]


def test_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    with new_file(tmp_path / "a.txt") as fresh:
        recover(tmp_path / "a.txt")
        fresh.write_text("mine")
    assert (tmp_path / "a.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["out.partial", ".out.partial", ".out.new", ".out.01234567.new"])
def test_a_persons_folder_whatever_its_name_is_not_removed(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "notes.txt").write_text("mine")
    write(tmp_path / "out", "new")
    assert (tmp_path / name / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("stranger", ["notes.txt", "0/notes.txt", "folder/notes.txt"])
def test_overwriting_never_deletes_what_it_did_not_write(tmp_path: Path, stranger: str) -> None:
    write(tmp_path / "out" / "0", "old")
    (tmp_path / "out" / stranger).parent.mkdir(exist_ok=True)
    (tmp_path / "out" / stranger).write_text("mine")
    with pytest.raises(FileExistsError, match="holds more than an earlier scene"):
        write(tmp_path / "out", "new", overwrite=True)
    assert (tmp_path / "out" / stranger).read_text() == "mine"
    assert (tmp_path / "out" / "0" / "picture.png").read_text() == "old"


def test_what_file_managers_leave_is_in_nobodys_way(tmp_path: Path) -> None:
    write(tmp_path / "out" / "0", "old")
    for name in (".DS_Store", "Thumbs.db", "0/.DS_Store", "._0"):
        (tmp_path / "out" / name).write_text("")
    write(tmp_path / "out", "new", overwrite=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "Thumbs.db").write_text("")
    write(tmp_path / "empty", "new")
    assert names(tmp_path / "out") == names(tmp_path / "empty") == ["picture.png", "scene.json"]


@pytest.mark.parametrize("nameless", [True, False])
def test_an_output_that_cannot_be_written_is_refused_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nameless: bool) -> None:
    """The tests may run as root, whom modes do not hold: the refusal is the system's, made here."""

    def refuses(path: object, *_: object) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    if nameless and not hasattr(os, "O_TMPFILE"):
        pytest.skip("this system has no files without a name")
    if not nameless:
        monkeypatch.delattr(files.os, "O_TMPFILE", raising=False)
    monkeypatch.setattr(files.os, "open" if nameless else "mkdir", refuses)
    for require in (require_free, require_free_file):
        with pytest.raises(PermissionError, match=r"new.s cannot be written \(Operation not permitted"):
            require(tmp_path / "new" / "s", overwrite=False)


def test_a_folder_and_a_file_do_not_replace_each_other(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="is a folder"):
        require_free_file(tmp_path / "folder", overwrite=True)
    with pytest.raises(FileExistsError, match="is a file"):
        require_free(tmp_path / "file", overwrite=True, listing=LISTING)
