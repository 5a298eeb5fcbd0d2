import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageOps, features
from PIL.ExifTags import Base

from cyclegan.deep_pictures import flat, is_deep, read_deep, write_deep
from cyclegan.errors import DepthError, ImageError, OutputError
from cyclegan.pictures import open_image, read_picture
from cyclegan.sources import read_item


def noise(channels: int, height: int = 21, width: int = 34) -> np.ndarray:
    generator = np.random.default_rng(channels)
    return generator.integers(0, 1 << 16, (height, width, channels), np.uint16)


def chunk(name: bytes, data: bytes) -> bytes:
    check = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)


def png(samples: np.ndarray, colour_type: int, *more: bytes) -> bytes:
    """A PNG of 16 bits with ``more`` chunks, after the standard (ISO 15948), by no encoder."""
    height, width = samples.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    chunks = [
        chunk(b"IHDR", head),
        *more,
        chunk(b"IDAT", zlib.compress(rows)),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def tiff(
    samples: np.ndarray, tags: Mapping[int, int], bits: int = 16, tiled: bool = False
) -> bytes:
    """A TIFF with ``tags`` beside or instead of the usual ones, after the standard (TIFF 6.0), by
    no encoder: in one strip, in one tile, or, with that tag, in one strip for each plane."""
    height, width, channels = samples.shape
    planes = [samples]
    if tags.get(Base.PlanarConfiguration) == 2:
        planes = list(np.moveaxis(samples, 2, 0))
    if bits == 12:  # two numbers in three bytes
        digits = np.stack([samples >> 8, samples >> 4 & 15, samples & 15]).reshape(3, -1)
        nibbles = digits.T.reshape(-1, 2)
        strips = [(nibbles[:, 0] << 4 | nibbles[:, 1]).astype(np.uint8).tobytes()]
    else:
        strips = [plane.astype("<u2").tobytes() for plane in planes]
    content, size = b"".join(strips), len(strips[0])
    places = [8 + size * i for i in range(len(strips))]
    stored = {
        Base.StripOffsets: places,
        Base.RowsPerStrip: [height],
        Base.StripByteCounts: [size] * len(strips),
    }
    if tiled:
        stored = {
            Base.TileWidth: [width],
            Base.TileLength: [height],
            Base.TileOffsets: places,
            Base.TileByteCounts: [size],
        }
    values: dict[int, list[int]] = {
        Base.ImageWidth: [width],
        Base.ImageLength: [height],
        Base.BitsPerSample: [bits] * channels,
        Base.PhotometricInterpretation: [1 if channels == 1 else 2],
        Base.SamplesPerPixel: [channels],
        **stored,
        **{tag: [value] for tag, value in tags.items()},
    }
    entries = b""
    for tag, numbers in sorted(values.items()):
        packed = struct.pack(f"<{len(numbers)}I", *numbers)
        if len(numbers) > 1:  # elsewhere
            content, packed = content + packed, struct.pack("<I", 8 + len(content))
        entries += struct.pack("<HHI", tag, 4, len(numbers)) + packed
    head = b"II*\0" + struct.pack("<I", 8 + len(content))
    return head + content + struct.pack("<H", len(values)) + entries + bytes(4)


@pytest.mark.parametrize(
    ("tags", "tiled", "says"),
    [
        ({}, True, "it is stored in tiles"),
        ({Base.ExtraSamples: 1}, False, "multiplied by their opacity"),
        ({Base.ExtraSamples: 0}, False, "a band of an unknown kind"),
        ({Base.PhotometricInterpretation: 5}, False, "it is CMYK"),
    ],
)
def test_forms_of_tiff_that_are_taken_for_others_are_refused(
    tags: dict[int, int], tiled: bool, says: str, tmp_path: Path
) -> None:
    """FFmpeg reads them, without a word, as black or as plain RGB; Pillow has their upper bits."""
    path = tmp_path / "in.tif"
    path.write_bytes(tiff(noise(4, 16, 32), tags, tiled=tiled))
    assert is_deep(path)
    with pytest.raises(DepthError, match=f"{says}; store it as a plain PNG"):
        read_deep(path)
    assert read_item(path, 3, 8).shape == (16, 32, 3)
    path.write_bytes(tiff(noise(4, 16, 32), {Base.ExtraSamples: 2}))
    np.testing.assert_array_equal(read_deep(path), noise(4, 16, 32))


def test_planes_of_sixteen_bits_are_read_whole_or_refused(tmp_path: Path) -> None:
    """Pillow would take them for planes of 8 bits."""
    path = tmp_path / "in.tif"
    path.write_bytes(tiff(noise(3), {Base.PlanarConfiguration: 2}))
    assert is_deep(path)
    np.testing.assert_array_equal(read_item(path, 3, 16), noise(3))
    with pytest.raises(ImageError, match="stored in planes, which are read with a depth of 16"):
        read_item(path, 3, 8)


@pytest.mark.parametrize(("bits", "interpretation"), [(16, 0), (12, 1), (16, 1)])
def test_gray_of_a_tiff_is_from_black_to_white(
    bits: int, interpretation: int, tmp_path: Path
) -> None:
    """Pillow gives the numbers of 16 bits as they are: of 12 bits, and where white is 0."""
    levels = np.linspace(0, 2**bits - 1, 6 * 10).astype(np.uint16).reshape(6, 10, 1)
    path = tmp_path / "in.tif"
    path.write_bytes(tiff(levels, {Base.PhotometricInterpretation: interpretation}, bits))
    light = levels / (2**bits - 1)
    expected = light if interpretation else 1 - light
    assert is_deep(path)
    for depth, white in ((16, 65535), (8, 255)):
        assert np.abs(read_item(path, 1, depth) - expected * white).max() <= 0.51


@pytest.mark.parametrize("compression", ["tiff_lzw", None])
@pytest.mark.parametrize(("white", "kind"), [(1, np.float32), (65535, np.int32)])
def test_a_tiff_of_floats_or_of_long_integers_keeps_sixteen_bits(
    white: int, kind: type, compression: str | None, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "in.tif"
    ramp = np.linspace(0, white, 60 * 40).astype(kind).reshape(60, 40)
    Image.fromarray(ramp).save(path, exif=exif, compression=compression)
    assert is_deep(path)
    expected = np.rot90(ramp.astype(np.float64), -1) * (65535 / white)
    assert np.abs(read_item(path, 1, 16)[..., 0] - expected).max() <= 0.51
    for wrong in (-ramp, ramp * 2):
        Image.fromarray(wrong).save(path)
        for depth in (8, 16):
            with pytest.raises(ImageError, match=r"(floats|integers) in \[.*\]; expected"):
                read_item(path, 1, depth)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_what_is_written_is_read_again(channels: int, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / f"deep{suffix}"
    write_deep(noise(channels), path)
    assert is_deep(path)
    np.testing.assert_array_equal(read_deep(path), noise(channels))
    with Image.open(path) as image:  # another reader agrees, as far as it goes
        image.load()
        upper = np.asarray(image) >> (8 if channels == 1 else 0)
    np.testing.assert_array_equal(upper.reshape(noise(channels).shape), noise(channels) >> 8)


@pytest.mark.parametrize(("channels", "colour_type"), [(1, 0), (3, 2), (2, 4), (4, 6)])
def test_every_kind_of_png_is_read_to_the_bit(
    channels: int, colour_type: int, tmp_path: Path
) -> None:
    samples = noise(channels)
    (tmp_path / "in.png").write_bytes(png(samples, colour_type))
    if channels == 2:  # gray with opacity
        samples = samples[..., [0, 0, 0, 1]]
    np.testing.assert_array_equal(read_deep(tmp_path / "in.png"), samples)


def test_the_transparent_level_of_gray_is_transparent(tmp_path: Path) -> None:
    """White and transparent lie apart, and so do two levels with the same upper bits."""
    levels, path = np.array([[1000, 1001, 65535]], np.uint16), tmp_path / "in.png"
    path.write_bytes(png(levels[..., None], 0, chunk(b"tRNS", struct.pack(">H", 1000))))
    opacity = [0, 65535, 65535]
    assert read_deep(path)[0].tolist() == [[n, n, n, o] for n, o in zip(levels[0], opacity)]
    assert read_item(path, 1, 16).ravel().tolist() == [65535, 1001, 65535]
    assert read_item(path, 1, 8).ravel().tolist() == [255, 4, 255]
    assert np.asarray(open_image(path)).tolist() == [[[4, 0], [4, 255], [255, 255]]]


def test_the_transparent_colour_of_a_png_is_transparent(tmp_path: Path) -> None:
    """Not the one whose upper bits are the lower ones of that."""
    colours, path = np.array([[[0x1234] * 3, [0x3412] * 3]], np.uint16), tmp_path / "in.png"
    path.write_bytes(png(colours, 2, chunk(b"tRNS", struct.pack(">HHH", *colours[0, 0]))))
    assert read_item(path, 3, 16).tolist() == [[[65535] * 3, [0x3412] * 3]]
    assert read_item(path, 3, 8).tolist() == [[[255] * 3, [0x34] * 3]]


@pytest.mark.parametrize(("magic", "channels"), [("P5", 1), ("P6", 3)])
@pytest.mark.parametrize("largest", [1023, 55000, 60007, 65534, 65535])
def test_white_of_a_netpbm_file_is_white(
    largest: int, magic: str, channels: int, tmp_path: Path
) -> None:
    ramp = np.linspace(0, largest, 5 * 7 * channels).astype(">u2").reshape(5, 7, channels)
    path = tmp_path / "in.ppm"
    path.write_bytes(f"{magic} 7 5 {largest}\n".encode() + ramp.tobytes())
    assert is_deep(path)
    expected = ramp.astype(np.float64) * 65535 / largest
    assert np.abs(read_deep(path) - expected).max() <= 0.5


def test_samples_of_a_netpbm_file_above_its_maximum_are_white(tmp_path: Path) -> None:
    samples = np.array([0, 27500, 55000, 65535], ">u2").tobytes()
    (tmp_path / "in.pgm").write_bytes(b"P5\n2 2 # a comment\n55000\n" + samples)
    assert read_deep(tmp_path / "in.pgm").ravel().tolist() == [0, 32768, 65535, 65535]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_stand_upright(channels: int, orientation: int, tmp_path: Path) -> None:
    """As Pillow turns the upper bits of the same file."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    turning = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    (tmp_path / "in.png").write_bytes(png(noise(channels), 0 if channels == 1 else 2, turning))
    with Image.open(tmp_path / "in.png") as image:
        turned = ImageOps.exif_transpose(image)
    upper = np.asarray(turned) >> (8 if channels == 1 else 0)
    deep = read_deep(tmp_path / "in.png")
    np.testing.assert_array_equal(deep >> 8, upper.reshape(deep.shape))


def test_damaged_exif_does_not_hide_the_pixels(tmp_path: Path) -> None:
    path = tmp_path / "in.png"
    path.write_bytes(png(noise(1), 0, chunk(b"eXIf", b"no TIFF at all")))
    np.testing.assert_array_equal(read_deep(path), noise(1))


def test_looking_for_exif_does_not_hide_that_pixels_are_damaged(tmp_path: Path) -> None:
    """Pillow decodes a PNG to look for it behind the pixels, and does not tell of damage twice."""
    path, damaged = tmp_path / "in.png", bytearray(png(noise(1), 0))
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ImageError, match=r"cannot read .*in\.png as a picture"):
        read_deep(path)


@pytest.mark.parametrize("compression", ["tiff_lzw", None])
def test_a_gray_tiff_is_turned_once(compression: str | None, tmp_path: Path) -> None:
    """Pillow loads it upright, if it does not map it into memory."""
    exif = Image.Exif()
    exif[0x0112] = 6
    stored, path = noise(1)[..., 0], tmp_path / "in.tif"
    Image.fromarray(stored).save(path, exif=exif, compression=compression)
    np.testing.assert_array_equal(read_deep(path), np.rot90(noise(1), -1))
    shallow = (stored >> 8).astype(np.uint8)
    Image.fromarray(shallow).save(path, exif=exif, compression=compression)
    np.testing.assert_array_equal(read_picture(path, 1)[..., 0], np.rot90(shallow, -1))


@pytest.mark.skipif(not features.check("jpg_2000"), reason="this Pillow reads no JPEG 2000")
def test_gray_of_jpeg_2000_is_read_to_the_bit(tmp_path: Path) -> None:
    gray = noise(1)
    Image.fromarray(gray[..., 0]).save(tmp_path / "a.jp2")
    assert is_deep(tmp_path / "a.jp2")
    np.testing.assert_array_equal(read_deep(tmp_path / "a.jp2"), gray)


def test_shallow_pictures_are_told_apart(tmp_path: Path) -> None:
    picture = Image.fromarray((noise(3) >> 8).astype(np.uint8))
    for mode in ("RGB", "L", "1", "P", "RGBA", "CMYK"):
        picture.convert(mode).save(tmp_path / "in.tif")
        assert not is_deep(tmp_path / "in.tif")
    for suffix in (".png", ".jpg", ".webp", ".bmp", ".ppm", ".gif"):
        picture.save(tmp_path / f"in{suffix}")
        assert not is_deep(tmp_path / f"in{suffix}")
    for largest, deep in ((100, False), (255, False), (256, True)):
        (tmp_path / "plain.pgm").write_text(f"P2\n2 1 {largest}\n0 {largest}\n")
        assert is_deep(tmp_path / "plain.pgm") == deep
        assert read_item(tmp_path / "plain.pgm", 1, 16).ravel().tolist() == [0, 65535]


@given(arrays(np.uint16, st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(4))))
def test_opacity_is_laid_over_white(array: np.ndarray) -> None:
    colour, opacity = array[..., :3] / 65535, array[..., 3:] / 65535
    expected = 65535 * (colour * opacity + 1 - opacity)
    assert np.abs(flat(array, 3) - expected).max() <= 0.5001


def test_channels_become_those_asked_for() -> None:
    gray, colour = noise(1), noise(3)
    np.testing.assert_array_equal(flat(gray, 3), np.repeat(gray, 3, axis=2))
    luminance = colour @ np.array([0.299, 0.587, 0.114])
    assert np.abs(flat(colour, 1)[..., 0] - luminance).max() <= 1
    assert flat(np.full((1, 1, 3), 65535, np.uint16), 1) == 65535


def test_training_reads_all_bits_of_colours(tmp_path: Path) -> None:
    write_deep(noise(3), tmp_path / "in.png")
    np.testing.assert_array_equal(read_item(tmp_path / "in.png", 3, 16), noise(3))
    np.testing.assert_array_equal(read_item(tmp_path / "in.png", 3, 8), noise(3) >> 8)


def test_what_cannot_be_read_or_written_says_why(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.png", tmp_path / "cut.png"
    write_deep(noise(3, 200, 200), whole)
    cut.write_bytes(whole.read_bytes()[:9000])
    with pytest.raises(ImageError, match=r"cannot read .*cut\.png as a picture"):
        read_deep(cut)
    for read in (is_deep, read_deep):
        with pytest.raises(ImageError, match=r"nothing\.png"):
            read(tmp_path / "nothing.png")
    Image.fromarray(read_picture(whole)).save(tmp_path / "shallow.png")
    with pytest.raises(ImageError, match=r"with 16 bits a channel: .*rgb24; store it as a plain"):
        read_deep(tmp_path / "shallow.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError, match=r"folder\.png"):
        write_deep(noise(3), tmp_path / "folder.png")
