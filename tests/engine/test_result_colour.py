"""Colours as readers of a result see them, whatever its codec and container can tell."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from videos import decoded, write_video

from cyclegan.colour import (
    BT601,
    BT601_625,
    BT709,
    BT2020,
    FULL,
    LIMITED,
    colour_of,
    rgb_from_picture,
)
from cyclegan.engine.encoding import Encoding
from cyclegan.engine.options import VideoOptions
from cyclegan.engine.translator import Translator
from cyclegan.engine.video import translate_video

PAINTS = np.array(
    [(200, 40, 30), (30, 180, 60), (40, 60, 210), (128, 128, 128), (0, 0, 0), (255, 255, 255)],
    np.uint8,
)
SIDE = 16
SMALL, TALL = 48, 720
"""Lines of pictures that are taken for BT.601 and for BT.709 where nothing is said."""


def painted(lines: int) -> np.ndarray:
    """Bars of ``PAINTS`` from left to right."""
    return np.tile(np.repeat(PAINTS, SIDE, axis=0), (lines, 1, 1))


def error(shown: np.ndarray) -> int:
    """The largest in the middle of bars, where no chroma of others comes in."""
    middles = shown[16:32].reshape(16, -1, SIDE, 3)[:, : len(PAINTS), 6:10]
    return int(np.abs(middles.astype(int) - PAINTS[:, None]).max())


def first(path: Path) -> np.ndarray:
    """The first picture as this project reads it."""
    picture = decoded(path)[0]
    return rgb_from_picture(picture, colour_of(picture))


def source(folder: Path, lines: int, matrix: int, span: int) -> Path:
    return write_video(folder / "in.mkv", [painted(lines)] * 2, matrix=matrix, span=span)


every_source = pytest.mark.parametrize(
    ("lines", "matrix", "span"),
    [(SMALL, BT709, LIMITED), (SMALL, BT601, FULL), (TALL, BT601, LIMITED)],
)


@every_source
@pytest.mark.parametrize(
    ("suffix", "encoder", "pixel_format"),
    [
        *((suffix, "auto", "auto") for suffix in (".mp4", ".mov", ".mkv", ".webm", ".avi")),
        *((suffix, "auto", "auto") for suffix in (".wmv", ".flv", ".y4m")),
        *((".avi", encoder, "auto") for encoder in ("mpeg4", "ffv1", "mjpeg", "libvpx-vp9")),
        *((".mkv", encoder, "auto") for encoder in ("mpeg4", "ffv1", "mjpeg", "libvpx")),
        *((".mp4", encoder, "auto") for encoder in ("mpeg4", "mpeg2video", "mjpeg", "libx265")),
        *((".mov", encoder, "auto") for encoder in ("mpeg4", "mjpeg", "prores_ks")),
        (".mpg", "mpeg1video", "auto"),
        (".avi", "rawvideo", "yuv420p"),
        (".mkv", "mjpeg", "yuv420p"),
    ],
)
def test_videos_are_read_in_the_colours_of_their_source(
    suffix: str,
    encoder: str,
    pixel_format: str,
    lines: int,
    matrix: int,
    span: int,
    copies: Translator,
    tmp_path: Path,
) -> None:
    target = tmp_path / f"out{suffix}"
    options = VideoOptions(encoding=Encoding(encoder=encoder, pixel_format=pixel_format))
    translate_video(source(tmp_path, lines, matrix, span), target, copies, options)
    assert error(first(target)) <= 6, "15 and more under another matrix or range"


@every_source
@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".tif", ".png", ".bmp", ".jp2"])
def test_numbered_pictures_are_read_in_the_colours_of_their_source(
    suffix: str, lines: int, matrix: int, span: int, copies: Translator, tmp_path: Path
) -> None:
    made = source(tmp_path, lines, matrix, span)
    encoder = "jpeg2000" if suffix == ".jp2" else "auto"
    options = VideoOptions(encoding=Encoding(encoder=encoder))
    translate_video(made, tmp_path / f"%d{suffix}", copies, options)
    with Image.open(tmp_path / f"1{suffix}") as picture:
        assert error(np.asarray(picture.convert("RGB"))) <= 6
    assert error(first(tmp_path / f"1{suffix}")) <= 6


@pytest.mark.parametrize("encoder", ["mpeg4", "mjpeg"])
@pytest.mark.parametrize(
    "options", [VideoOptions(resume=True), VideoOptions(compare="side"), VideoOptions(live=True)]
)
def test_colours_are_the_same_by_every_way(
    options: VideoOptions, encoder: str, copies: Translator, tmp_path: Path
) -> None:
    options = replace(options, encoding=Encoding(encoder=encoder))
    made = source(tmp_path, SMALL, BT709, LIMITED)
    translate_video(made, tmp_path / "out.avi", copies, options)
    assert error(first(tmp_path / "out.avi")) <= 6


@pytest.mark.parametrize("pixel_format", ["yuvj420p", "gray"])
def test_numbers_of_full_range_are_tagged_so(
    pixel_format: str, copies: Translator, tmp_path: Path
) -> None:
    """FFmpeg's scaler makes them so, whatever it is asked for."""
    options = VideoOptions(encoding=Encoding(pixel_format=pixel_format))
    made = source(tmp_path, SMALL, BT709, LIMITED)
    translate_video(made, tmp_path / "out.mp4", copies, options)
    (picture, *_) = decoded(tmp_path / "out.mp4")
    luma = picture.to_ndarray()[16, 4 * SIDE : 6 * SIDE].reshape(2, SIDE).mean(1)
    assert picture.color_range == FULL
    assert luma == pytest.approx([0, 255], abs=3)


@pytest.mark.parametrize(
    ("name", "encoder", "matrix"),
    [
        ("out.webm", "libvpx", BT601_625),
        ("out.mp4", "ffv1", BT2020),
        ("out.mkv", "libx265", BT2020),
    ],
)
def test_hdr_keeps_its_transfer_whatever_becomes_of_its_matrix(
    name: str, encoder: str, matrix: int, copies: Translator, tmp_path: Path
) -> None:
    made = write_video(
        tmp_path / "in.mkv",
        [painted(SMALL)],
        matrix=BT2020,
        span=LIMITED,
        primaries=BT2020,
        transfer=16,
    )
    options = VideoOptions(encoding=Encoding(encoder=encoder))
    translate_video(made, tmp_path / name, copies, options)
    (picture,) = decoded(tmp_path / name)
    assert (picture.color_primaries, picture.color_trc) == (BT2020, 16)
    assert picture.colorspace == matrix
    assert error(first(tmp_path / name)) <= 6
