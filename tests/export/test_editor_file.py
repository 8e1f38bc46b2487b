"""One file is written whole or not at all, and replaced only when asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from dreamlayer_jax import LayeredImage
from dreamlayer_jax.export import editor_file
from dreamlayer_jax.export.editor_file import write_editor_file
from dreamlayer_jax.request import RequestError


@pytest.mark.parametrize(("name", "begins"), [("a.psd", b"8BPS"), ("a.ora", b"PK"), ("A.PSD", b"8BPS")])
def test_the_name_says_the_format(scene: LayeredImage, tmp_path: Path, name: str, begins: bytes) -> None:
    path = write_editor_file(scene, tmp_path / "new" / name)
    assert path.read_bytes().startswith(begins)
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.png", "a", ".psd", "a.psd.bak"])
def test_another_name_is_refused(scene: LayeredImage, tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestError, match=r"must end in \.psd or \.ora"):
        write_editor_file(scene, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_only_when_asked(scene: LayeredImage, tmp_path: Path) -> None:
    (tmp_path / "a.psd").write_text("mine")
    with pytest.raises(FileExistsError, match=r"is there already.*--overwrite"):
        write_editor_file(scene, tmp_path / "a.psd")
    assert (tmp_path / "a.psd").read_text() == "mine"
    write_editor_file(scene, tmp_path / "a.psd", overwrite=True)
    assert (tmp_path / "a.psd").read_bytes().startswith(b"8BPS")


def test_a_folder_is_never_replaced(scene: LayeredImage, tmp_path: Path) -> None:
    (tmp_path / "a.psd").mkdir()
    with pytest.raises(FileExistsError, match="is a folder"):
        write_editor_file(scene, tmp_path / "a.psd", overwrite=True)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("name", ["a.psd", "a.ora"])
def test_an_interrupted_write_leaves_the_old_file(
    scene: LayeredImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, interruption: type[BaseException]
) -> None:
    (tmp_path / name).write_text("old")
    write = editor_file.write_format

    def interrupted(image: LayeredImage, path: Path, *arguments: object, **options: object) -> None:
        write(image, path, *arguments, **options)
        path.write_bytes(path.read_bytes()[:100])
        raise interruption

    monkeypatch.setattr(editor_file, "write_format", interrupted)
    with pytest.raises(interruption):
        write_editor_file(scene, tmp_path / name, overwrite=True)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "old"
