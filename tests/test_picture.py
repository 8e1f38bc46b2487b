"""Reading pictures: every kind comes out as upright RGB, and what is no picture is refused in one sentence."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from dreamlayer_jax.picture import PictureError, read_picture


def test_exif_turns_the_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, :4] = 255
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    found = read_picture(tmp_path / "turned.png")
    assert found.shape == (8, 4, 3)
    assert (found[:4] == 255).all()
    assert (found[4:] == 0).all()


def test_transparency_is_laid_over_white(tmp_path):
    Image.new("RGBA", (3, 2), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_picture(tmp_path / "clear.png") == 255).all()
    Image.new("LA", (3, 2), (0, 128)).save(tmp_path / "half.png")
    np.testing.assert_allclose(read_picture(tmp_path / "half.png"), 127, atol=1)


def test_sixteen_bits_become_eight(tmp_path):
    Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16)).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "deep.png")[0, :, 0], [0, 100, 255])


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK"])
def test_other_modes_become_rgb(tmp_path, mode):
    name = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    Image.new(mode, (4, 4)).save(name)
    assert read_picture(name).shape == (4, 4, 3)


def huge_png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("bomb.png", huge_png(), "million"),
        ("words.png", b"this is no picture", "no picture of a known format"),
        ("cut.png", None, "damaged"),
        ("missing.png", b"", "there is no picture"),
        ("folder", b"", "is a folder"),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path, name, content, words):
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif name == "cut.png":
        noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "whole.png")
        path.write_bytes((tmp_path / "whole.png").read_bytes()[:800])
    elif name != "missing.png":
        path.write_bytes(content)
    with pytest.raises(PictureError, match=words):
        read_picture(path)
