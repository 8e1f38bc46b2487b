"""The objects' pictures that come with the project: their bytes, the font that they are drawn from, and what is said without them."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from data.__main__ import main
from data.cutouts import ART, Cutout, art_file, emoji_cutouts
from data.render_art import FONT, FONT_SHA256, drawn_cutouts, write_art

# Of what the font gave where the pocket model's training scenes were composed: the scenes, and with them all figures, hang on every byte.
PIXELS = "b3d7a6445c8b684c150ef5ad977a0aa6e5e48861c2b5b8d34f38d7d38810f27c"


def digest(cutouts: tuple[Cutout, ...]) -> str:
    whole = hashlib.sha256()
    for cutout in cutouts:
        whole.update(cutout.name.encode() + str(cutout.rgba.shape).encode() + cutout.rgba.tobytes())
    return whole.hexdigest()


def test_the_pictures_are_what_the_training_scenes_were_composed_of() -> None:
    assert digest(emoji_cutouts()) == PIXELS
    assert sum(path.stat().st_size for path in ART.iterdir()) < 1_500_000
    assert "SIL OPEN FONT LICENSE Version 1.1" in (ART / "OFL.txt").read_text(encoding="utf-8")


def test_drawn_anew_they_are_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not FONT.is_file():
        why = "needs Debian's fonts-noto-color-emoji"
        pytest.fail(f"{why}, which .ci/run should install") if os.environ.get("DREAMLAYER_CI") else pytest.skip(why)
    if hashlib.sha256(FONT.read_bytes()).hexdigest() != FONT_SHA256:
        pytest.skip("needs the font that the pictures were drawn from, Noto Color Emoji 2.042; another is installed")
    assert main(["render-art", "--out", str(tmp_path / "art")]) == 0
    assert "48 pictures" in capsys.readouterr().out
    assert digest(emoji_cutouts(tmp_path / "art")) == PIXELS


def test_what_is_written_is_read_back_byte_for_byte(tmp_path: Path) -> None:
    """Colours under alpha 0 too, which lossy or tidy encoders drop."""
    cutouts = emoji_cutouts()
    assert sum((cutout.rgba[..., 3] == 0).sum() for cutout in cutouts) > 0
    write_art(cutouts, tmp_path)
    assert digest(emoji_cutouts(tmp_path)) == digest(cutouts)


def test_missing_pictures_and_fonts_are_named_with_what_brings_them_back(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="apt-get install fonts-noto-color-emoji"):
        drawn_cutouts(tmp_path / "none.ttf")
    folder = tmp_path / "art"
    shutil.copytree(ART, folder)
    art_file("teddy bear", folder).write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"'teddy bear' is damaged: .*teddy_bear\.webp.*python -m data render-art"):
        emoji_cutouts(folder)
    art_file("teddy bear", folder).unlink()
    with pytest.raises(FileNotFoundError, match=r"'teddy bear' is missing: .*teddy_bear\.webp; restore"):
        emoji_cutouts(folder)
