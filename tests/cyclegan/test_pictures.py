"""Reading pictures of every kind by the stated rules, and writing them whole."""

import os
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image
from PIL.PngImagePlugin import PngInfo

from cyclegan.errors import DataError, ImageError, OutputError
from cyclegan.pictures import list_pictures, read_picture, write_picture


def colours(height: int = 6, width: int = 9) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_rgb_round_trip_is_exact(tmp_path: Path) -> None:
    write_picture(colours(), tmp_path / "new" / "a.png")
    assert np.array_equal(read_picture(tmp_path / "new" / "a.png"), colours())


def test_one_channel_round_trip_is_exact(tmp_path: Path) -> None:
    write_picture(colours()[..., :1], tmp_path / "a.png")
    assert np.array_equal(read_picture(tmp_path / "a.png", channels=1), colours()[..., :1])


def test_colour_becomes_luminance_in_one_channel(tmp_path: Path) -> None:
    write_picture(colours(), tmp_path / "a.png")
    expected = colours() @ np.array([0.299, 0.587, 0.114])
    assert np.abs(read_picture(tmp_path / "a.png", channels=1)[..., 0] - expected).max() <= 0.51


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 127, 200, 257, 1000, 32768, 65535]], np.uint16)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(values).save(path)
    expected = np.rint(values / 257.0)
    assert np.array_equal(read_picture(path), np.repeat(expected[..., None], 3, 2))


def test_sixteen_bit_colour_is_scaled(tmp_path: Path) -> None:
    """A binary PPM with a maximum of 65535, big-endian."""
    values = np.array([[[0, 32768, 65535]]], ">u2")
    (tmp_path / "a.ppm").write_bytes(b"P6 1 1 65535\n" + values.tobytes())
    assert np.abs(read_picture(tmp_path / "a.ppm")[0, 0].astype(int) - [0, 128, 255]).max() <= 1


def test_floats_in_unit_range(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 0.5, 1]], np.float32)).save(tmp_path / "a.tif")
    assert read_picture(tmp_path / "a.tif", channels=1).ravel().tolist() == [0, 128, 255]


@pytest.mark.parametrize("values", [np.float32([[0, 2]]), np.int32([[0, 70000]])])
def test_values_of_unknown_range_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match=r"a\.tif.*expected"):
        read_picture(tmp_path / "a.tif")


@pytest.mark.parametrize("mode", ["1", "L"])
def test_gray_is_repeated(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert(mode)
    image.save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").tolist() == [
        [[0] * 3, [255] * 3],
        [[255] * 3, [0] * 3],
    ]


def test_palette_gives_its_colours(tmp_path: Path) -> None:
    picture = colours(2, 3)
    Image.fromarray(picture).quantize(6).save(tmp_path / "a.png")
    assert np.array_equal(read_picture(tmp_path / "a.png"), picture)


def test_alpha_is_laid_over_white(tmp_path: Path) -> None:
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png")[0].tolist() == [[10, 20, 30], [255] * 3, [204] * 3]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_transparent_level_of_gray_is_white(tmp_path: Path, bits: int) -> None:
    """Of pixels in as many bits, of which the file gives the number of the level."""
    levels = np.arange(0, 256, 255 // (2**bits - 1), dtype=np.uint8)[None]
    image = Image.fromarray(levels)
    if bits == 1:
        image = image.convert("1")
    for clear in (0, 1):
        image.save(tmp_path / "a.png", bits=bits, transparency=clear)
        wanted = levels[0].tolist()
        wanted[clear] = 255
        assert read_picture(tmp_path / "a.png", 1).ravel().tolist() == wanted


def test_the_transparent_level_of_gray_may_be_in_more_bits_than_its_pixels(tmp_path: Path) -> None:
    """As Pillow writes it; others read the lower bits."""
    image = Image.fromarray(np.uint8([[0, 85, 170, 255]]))
    image.save(tmp_path / "a.png", bits=2, transparency=85)
    assert read_picture(tmp_path / "a.png", 1).ravel().tolist() == [0, 255, 170, 255]


def test_transparent_palette_entry_is_white(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.save(tmp_path / "a.png", transparency=0)
    assert read_picture(tmp_path / "a.png")[0].tolist() == [[255] * 3, [0, 0, 200]]


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    assert np.abs(read_picture(tmp_path / "a.jpg")[8, 8].astype(int) - [255, 0, 0]).max() <= 3


def test_lab_becomes_rgb_and_gray(tmp_path: Path) -> None:
    Image.new("LAB", (16, 16), (128, 128, 128)).save(tmp_path / "a.tif")
    colour = read_picture(tmp_path / "a.tif")
    assert np.ptp(colour[0, 0].astype(int)) <= 2
    assert np.abs(read_picture(tmp_path / "a.tif", 1).astype(int) - colour).max() <= 2


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    Image.fromarray(colours()).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_picture(tmp_path / "a.png"), np.rot90(colours(), -1))


def test_a_picture_is_turned_whatever_else_its_exif_holds(tmp_path: Path) -> None:
    """A resolution stored as text, which Pillow reads and cannot write."""
    Image.fromarray(colours()).save(tmp_path / "plain.jpg")
    entries = (
        struct.pack("<HHI4s", 0x0112, 3, 1, b"\6\0\0\0"),
        struct.pack("<HHI4s", 0x011A, 2, 3, b"72\0\0"),
    )
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4)
    Image.fromarray(colours()).save(tmp_path / "turned.jpg", exif=exif)
    stored, turned = (read_picture(tmp_path / f"{name}.jpg") for name in ("plain", "turned"))
    assert np.array_equal(turned, np.rot90(stored, -1))


@pytest.mark.parametrize("name", ["a.png", "a.webp", "profile.png"])
def test_a_picture_is_read_whatever_its_exif_is(name: str, tmp_path: Path) -> None:
    path, image, texts = tmp_path / name, Image.fromarray(colours()), PngInfo()
    if name == "profile.png":  # as ImageMagick writes it
        texts.add_text("Raw profile type exif", "\nexif\n      4\nno number\n")
        image.save(path, pnginfo=texts)
    else:
        image.save(path, exif=b"Exif\0\0no TIFF at all", lossless=True)
    assert np.array_equal(read_picture(path), colours())


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "webp", "gif"])
@pytest.mark.filterwarnings("ignore:.*EXIF data:UserWarning")
@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.9])
def test_truncated_pictures_are_named(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"broken.{suffix}"
    Image.fromarray(colours(64, 64)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    with pytest.raises(ImageError, match=f"broken.{suffix}"):
        read_picture(path)


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for Ghostscript is a script")
def test_postscript_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture by its name alone; Pillow would give the program in it to Ghostscript."""
    ghostscript, ran = tmp_path / "bin" / "gs", tmp_path / "ran"
    ghostscript.parent.mkdir()
    ghostscript.write_text(f"#!/bin/sh\necho >> {ran}\nexit 1\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ghostscript.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # what it found before
    path = tmp_path / "photo.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nloop\n")
    with pytest.raises(ImageError, match=r"photo\.png.*PostScript, a program, which is not run"):
        read_picture(path)
    assert not ran.exists()


def test_missing_file_and_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    for name, why in (("text.png", "no kind that Pillow knows"), ("missing.png", "No such file")):
        with pytest.raises(ImageError, match=f"cannot read .*{name} as a picture: .*{why}"):
            read_picture(tmp_path / name)


def test_listing_is_recursive_sorted_and_of_pictures_alone(tmp_path: Path) -> None:
    hidden = (".d.png", ".thumbs/e.png", "deep/.er/f.png")
    for name in ("b.PNG", "deep/er/c.jpg", "deep/d.JFIF", "a.webp", "notes.txt", *hidden):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    names = [str(path.relative_to(tmp_path)) for path in list_pictures(tmp_path)]
    assert names == ["a.webp", "b.PNG", "deep/d.JFIF", "deep/er/c.jpg"]


def test_pictures_that_a_folder_is_not_searched_for_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Else half of a phone's pictures would be left out without a word."""
    for name in ("a.png", "notes.txt", "b.HEIC", "deep/c.heic", "d.jp2"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list_pictures(tmp_path) == [tmp_path / "a.png"]
    assert f"{tmp_path}: 3 pictures (.heic, .jp2) are left out" in caplog.text


def test_listing_follows_links_and_ends(tmp_path: Path) -> None:
    for name in ("here/a.png", "there/b.png", "there/deep/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "here/linked").symlink_to(tmp_path / "there")
    (tmp_path / "there/deep/round").symlink_to(tmp_path / "here")
    (tmp_path / "here/gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "here/long.png").symlink_to("x" * 300)  # the system's answer is an error
    names = [str(path.relative_to(tmp_path / "here")) for path in list_pictures(tmp_path / "here")]
    assert names == ["a.png", "gone.png", "linked/b.png", "linked/deep/c.png", "long.png"]
    with pytest.raises(ImageError, match=r"gone\.png"):
        read_picture(tmp_path / "here/gone.png")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes with names are POSIX's")
def test_links_to_pipes_and_devices_are_no_pictures(tmp_path: Path) -> None:
    """As an unpacked archive may have them: who opened the pipe would wait forever."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to_pipe.png").symlink_to("pipe")
    (tmp_path / "to_device.png").symlink_to(os.devnull)
    (tmp_path / "a.png").touch()
    assert list_pictures(tmp_path) == [tmp_path / "a.png"]


def test_folders_that_cannot_be_read_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.png").touch()
    scan = os.scandir

    def refuse(path: str) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert list_pictures(tmp_path) == [tmp_path / "a.png"]
    assert f"cannot read the folder {tmp_path / 'closed'}: Permission denied" in caplog.text


def test_folders_without_pictures_are_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"no pictures under .*\.png"):
        list_pictures(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        list_pictures(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is a file"):
        list_pictures(tmp_path / "file")


def test_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    write_picture(colours(), path)
    before = path.read_bytes()

    def half(image: Image.Image, name: Path, **options: object) -> None:
        Path(name).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OutputError, match=r"a\.png.*No space left"):
        write_picture(255 - colours(), path)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["a.png"]


def test_write_refuses_what_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="float64"):
        write_picture(np.zeros((2, 2, 3)), tmp_path / "a.png")  # type: ignore[arg-type]
    with pytest.raises(ImageError, match=r"\.xyz"):
        write_picture(colours(), tmp_path / "a.xyz")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file"):
        write_picture(colours(), tmp_path / "file" / "a.png")


@pytest.mark.parametrize(("suffix", "side"), [("webp", 16400), ("gif", 66000)])
def test_what_a_format_cannot_hold_is_told(suffix: str, side: int, tmp_path: Path) -> None:
    path = tmp_path / f"wide.{suffix}"
    with pytest.raises(OutputError, match=rf"cannot write .*wide\.{suffix}: "):
        write_picture(np.zeros((8, side, 3), np.uint8), path)
    assert not list(tmp_path.iterdir())
