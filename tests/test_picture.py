"""Reading pictures: every kind comes out as upright RGB, and what is no picture is refused in one sentence."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from dreamlayer_jax.picture import PictureError, read_layer, read_map, read_picture


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


CASES = Path(__file__).parent / "cases"


def test_a_long_text_or_profile_in_a_png_is_no_reason_to_refuse_it() -> None:
    """More than 1 MiB of compressed text (wf.png) and profile (icc.png)."""
    for name in ("wf.png", "icc.png"):
        np.testing.assert_array_equal(np.unique(read_picture(CASES / name)), [1, 2, 3])


def test_damaged_metadata_leaves_the_pixels_and_the_orientation(tmp_path: Path) -> None:
    """rat.jpg and xres.jpg are 8 wide and 16 high, turned by an orientation beside a damaged entry."""
    for name in ("rat.jpg", "xres.jpg"):
        assert read_picture(CASES / name).shape == (8, 16, 3)
    Image.new("RGB", (3, 2), (10, 20, 30)).save(tmp_path / "a.png")
    png = (tmp_path / "a.png").read_bytes()
    empty_gamma = struct.pack(">I", 0) + b"gAMA" + struct.pack(">I", zlib.crc32(b"gAMA"))
    (tmp_path / "a.png").write_bytes(png[:33] + empty_gamma + png[33:])
    assert (read_picture(tmp_path / "a.png") == (10, 20, 30)).all()


def test_deep_and_float_pictures_are_as_bright_on_every_road() -> None:
    """The same ramp from black to white in 16 bits and in floats to 1 and to 255, as a picture and as a layer."""
    pictures = [read_picture(CASES / name) for name in ("g16.png", "f32.tiff", "f255.tiff")]
    layers = [read_layer(CASES / name) for name in ("g16.png", "f32.tiff", "f255.tiff")]
    for picture, layer in zip(pictures, layers, strict=True):
        assert (picture.min(), picture.max()) == (0, 255)
        np.testing.assert_allclose(picture.astype(int), pictures[0], atol=1)
        np.testing.assert_array_equal(layer[..., :3], picture)


def adobe_rgb() -> bytes:
    """A profile of Adobe RGB (1998): its primaries adapted to D50, and its gamma 563/256."""

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, 563) + b"\0\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", 6) + b"Adobe\0" + bytes(78)
    tags = {
        b"desc": description + bytes(-len(description) % 4), b"wtpt": xyz(0.9642, 1.0, 0.8249), b"rXYZ": xyz(0.60974, 0.31111, 0.01947),
        b"gXYZ": xyz(0.20528, 0.62567, 0.06087), b"bXYZ": xyz(0.14919, 0.06322, 0.74457), b"rTRC": curve, b"gTRC": curve, b"bTRC": curve,
    }  # fmt: skip
    place, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", place + len(body), len(content))
        body += content
    header = struct.pack(">I", place + len(body)) + b"\0\0\0\0\x02\x10\0\0mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28)
    return header + struct.pack(">iii", 63190, 65536, 54061) + bytes(48) + table + body


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colour_profiles_become_srgb(tmp_path: Path, mode: str) -> None:
    """LittleCMS and Adobe's own converter say (205, 90, 67)."""
    Image.new(mode, (2, 2), (180, 90, 70, 100)[: len(mode)]).save(tmp_path / "a.png", icc_profile=adobe_rgb())
    np.testing.assert_allclose(read_layer(tmp_path / "a.png")[0, 0, :3].astype(int), (205, 90, 67), atol=1)
    assert read_layer(tmp_path / "a.png")[0, 0, 3] == (100 if mode == "RGBA" else 255)
    Image.new(mode, (2, 2), (180, 90, 70, 100)[: len(mode)]).save(tmp_path / "a.png", icc_profile=b"no profile")
    assert tuple(read_layer(tmp_path / "a.png")[0, 0, :3]) == (180, 90, 70)


def test_what_a_profile_says_of_itself_is_not_read_by_littlecms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would allocate 16 bytes for each of the 16 million names that this one says it has, before it looks for the first."""
    for name in ("getProfileDescription", "getProfileName", "getProfileInfo"):
        monkeypatch.setattr(ImageCms, name, lambda _: pytest.fail("LittleCMS reads the names"))
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    names = profile.index(b"mluc") + 8
    for count, description, expected in ((1, "sRGB", (180, 90, 70)), (1 << 24, "sRGB", (180, 90, 70)), (1 << 24, "mine", (180, 90, 70))):
        profile[names : names + 4] = count.to_bytes(4)
        damaged = bytes(profile).replace("sRGB".encode("utf-16-be"), description.encode("utf-16-be"))
        Image.new("RGB", (2, 2), (180, 90, 70)).save(tmp_path / "a.jpg", quality=100, icc_profile=damaged)
        np.testing.assert_allclose(read_picture(tmp_path / "a.jpg")[0, 0].astype(int), expected, atol=2)


WRITES_A_FILE = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({}) (w) file dup (x) writestring closefile\nshowpage\n"


@pytest.mark.parametrize("read", [read_picture, read_layer, read_map])
def test_a_picture_can_run_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read) -> None:
    """Pillow hands PostScript, whatever its name, to Ghostscript; so nothing may be started, and the formats that are tried are few."""
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a program was started"))
    (tmp_path / "x.png").write_text(WRITES_A_FILE.format(tmp_path / "written"))
    with pytest.raises(PictureError, match="no picture of a known format; give a PNG, JPEG, WebP, TIFF or BMP file"):
        read(tmp_path / "x.png")
    assert not (tmp_path / "written").exists()
    with Image.open(tmp_path / "x.png") as image:
        assert image.format == "EPS"  # Pillow by itself would take it


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    for name in ("fifo.png", "zero.png"):
        with pytest.raises(PictureError, match="is no regular file; give a picture file"):
            read_picture(tmp_path / name)


def test_sizes_are_checked_before_anything_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGBA", (50, 40)).save(tmp_path / "other.png")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda _: pytest.fail("decoded"))
    with pytest.raises(PictureError, match=r"other.png is 50x40 pixels \(width x height\), and the scene is 64x64: resize it to that"):
        read_layer(tmp_path / "other.png", (64, 64))


def test_a_bomb_of_one_colour_is_one_line(tmp_path: Path) -> None:
    """14000x14000 pixels of one colour are a few kilobytes."""
    Image.new("1", (14_000, 14_000)).save(tmp_path / "bomb.png")
    with pytest.raises(PictureError, match="million"):
        read_picture(tmp_path / "bomb.png")
    Image.new("F", (6_000, 5_000)).save(tmp_path / "deep.tiff", compression="tiff_deflate")
    with pytest.raises(PictureError, match="at most 25 million are read"):
        read_picture(tmp_path / "deep.tiff")


def test_what_is_done_to_alpha_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    Image.new("RGBA", (3, 2), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("RGB", (3, 2), (255, 0, 0)).save(tmp_path / "flat.png")
    read_picture(tmp_path / "clear.png", on_warning=said.append)
    read_picture(tmp_path / "flat.png", on_warning=said.append)
    assert (read_layer(tmp_path / "flat.png", on_warning=said.append) == (255, 0, 0, 255)).all()
    read_layer(tmp_path / "clear.png", on_warning=said.append)
    assert said == [
        f"{tmp_path / 'clear.png'} is transparent in places; they are laid over white",
        f"{tmp_path / 'flat.png'} has no alpha: it is read as opaque everywhere",
    ]


def test_pictures_in_memory_are_taken_as_files_are() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 4), dtype=np.uint8)
    np.testing.assert_array_equal(read_layer(Image.fromarray(pixels)), pixels)
    np.testing.assert_array_equal(read_layer(pixels), pixels)
    np.testing.assert_array_equal(read_picture(pixels[..., :3]), pixels[..., :3])
    np.testing.assert_array_equal(read_picture(pixels[..., 0]), pixels[..., :1].repeat(3, axis=2))
    for wrong in (pixels.astype(np.float32), pixels[..., :2], pixels[:0]):
        with pytest.raises(PictureError, match="give uint8 of"):
            read_picture(wrong)
