"""Conversions against the formula of ITU-T H.273, computed here in floating point."""

from typing import Any

import av
import numpy as np
import pytest

from cyclegan.colour import (
    Colour,
    as_rgb,
    bits_of,
    colour_of,
    format_of,
    picture_from_rgb,
    rgb_from_picture,
)
from cyclegan.config import Depth

WEIGHTS = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
"""Of red and blue in luma, by matrix."""


def rgb_by_formula(planes: np.ndarray, matrix: int, span: int, white: float = 255) -> np.ndarray:
    """Codes of 8 bits, with ``white`` as the largest in full range; deeper ones have fractions."""
    y, cb, cr = planes.astype(float)
    if span == 2:
        y, cb, cr = y / white, (cb - 128) / white, (cr - 128) / white
    else:
        y, cb, cr = (y - 16) / 219, (cb - 128) / 224, (cr - 128) / 224
    red, blue = WEIGHTS[matrix]
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    g = (y - red * r - blue * b) / (1 - red - blue)
    return (np.stack([r, g, b], -1) * 255).clip(0, 255)


def planes_by_formula(rgb: np.ndarray, matrix: int, span: int, bits: int) -> np.ndarray:
    """The codes of RGB in [0, 65535]."""
    r, g, b = np.moveaxis(rgb / 65535, -1, 0)
    red, blue = WEIGHTS[matrix]
    y = red * r + (1 - red - blue) * g + blue * b
    cb, cr = (b - y) / 2 / (1 - blue), (r - y) / 2 / (1 - red)
    step, white = 2 ** (bits - 8), 2**bits - 1
    luma, chroma, black = (219 * step, 224 * step, 16 * step) if span == 1 else (white, white, 0)
    codes = [y * luma + black, cb * chroma + 128 * step, cr * chroma + 128 * step]
    return np.stack(codes).round().clip(0, white)


def picture(height: int, matrix: int, span: int) -> tuple[av.VideoFrame, np.ndarray]:
    """A tagged picture of many colours within the gamut, and its planes."""
    chance = np.random.default_rng(0)
    planes = np.stack(
        [
            chance.integers(low, high, (height, 16))
            for low, high in ((60, 180), (100, 156), (100, 156))
        ]
    ).astype(np.uint8)
    result = av.VideoFrame.from_ndarray(planes, format="yuv444p")
    result.colorspace, result.color_range = matrix, span
    return result, planes


@pytest.mark.parametrize("span", [1, 2])
@pytest.mark.parametrize("matrix", [1, 6, 9])
def test_tags_are_followed(matrix: int, span: int) -> None:
    source, planes = picture(48, matrix, span)
    rgb = rgb_from_picture(source, colour_of(source))
    assert np.abs(rgb - rgb_by_formula(planes, matrix, span)).max() < 1


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize(("matrix", "span"), [(1, 1), (6, 2), (9, 1)])
def test_deep_pictures_keep_their_levels(bits: int, matrix: int, span: int) -> None:
    chance = np.random.default_rng(0)
    rgb = chance.uniform(0.02, 0.98, (32, 48, 3)) * 65535
    planes = planes_by_formula(rgb, matrix, span, bits)
    source = av.VideoFrame(48, 32, f"yuv444p{bits}le")
    for plane, values in zip(source.planes, planes):
        np.frombuffer(plane, np.uint16).reshape(32, -1)[:, :48] = values  # type: ignore[arg-type]
    source.colorspace, source.color_range = matrix, span
    made = rgb_from_picture(source, colour_of(source), depth=16)
    step = 2.0 ** (bits - 8)
    expected = rgb_by_formula(planes / step, matrix, span, (2**bits - 1) / step)
    assert made.dtype == np.uint16
    assert np.abs(made - expected * 257).max() < 5, "of 65535: a fiftieth of a grey level"
    back = picture_from_rgb(made, source.format.name, colour_of(source))
    again = [
        np.frombuffer(plane, np.uint16).reshape(32, -1)[:, :48]  # type: ignore[arg-type]
        for plane in back.planes
    ]
    assert np.abs(np.stack(again).astype(int) - planes).max() <= max(1, 2 ** (bits - 11))


def test_white_is_white_in_every_depth() -> None:
    for name in ("gray10le", "gray16le", "gbrp10le", "gbrp12le", "rgb48le"):
        source = av.VideoFrame(16, 16, name)
        for plane in source.planes:
            white = 2 ** source.format.components[0].bits - 1
            np.frombuffer(plane, np.uint16)[:] = white  # type: ignore[arg-type]
        assert rgb_from_picture(source, colour_of(source), depth=16).min() == 65535, name


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        *(("rgb48le", 16), ("gbrp10le", 10), ("gbrp12le", 12), ("gray10le", 10), ("gray16le", 16)),
        *(("yuv444p10le", 10), ("yuv444p16le", 16)),
    ],
)
@pytest.mark.parametrize("size", [None, (8, 32)])
def test_more_bits_in_full_range_are_rounded_to_8(
    name: str, bits: int, size: tuple[int, int] | None
) -> None:
    """Along the greys, those of 8 bits among them where there are all."""
    white = 2**bits - 1
    for code in range(0, white + 1, white // 255 if bits == 16 else 7):
        source = av.VideoFrame(64, 16, name)
        source.color_range, source.colorspace = 2, 1
        for number, plane in enumerate(source.planes):
            is_chroma = name.startswith("yuv") and number > 0
            values = 2 ** (bits - 1) if is_chroma else code
            np.frombuffer(plane, np.uint16)[:] = values  # type: ignore[arg-type]
        made = rgb_from_picture(source, colour_of(source), size)
        assert made.shape == (*(size or (16, 64)), 3)
        assert made.dtype == np.uint8
        # What is scaled is within a fiftieth of a level before it is rounded.
        slack = 0.02 if size else 0
        assert np.abs(made - code / white * 255).max() <= 0.5 + slack, code


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("span", [0, 1, 2])
@pytest.mark.parametrize("name", ["gray", "gray10le", "gray16le", "ya8", "ya16le"])
def test_greys_are_of_limited_range_where_they_are_tagged_so(
    name: str, span: int, depth: Depth
) -> None:
    """FFmpeg's scaler takes all for full range."""
    source = av.VideoFrame(64, 16, name)
    bits, channels = bits_of(source.format), len(source.format.components)
    (plane,) = source.planes
    codes = np.frombuffer(plane, np.uint8 if bits == 8 else np.uint16)  # type: ignore[arg-type]
    wanted = np.linspace(0, 2**bits - 1, 64).astype(codes.dtype)
    codes.reshape(16, -1)[:, : 64 * channels] = wanted.repeat(channels)
    source.color_range = span
    made = rgb_from_picture(source, colour_of(source), depth=depth)
    step, white = 2 ** (bits - 8), 2**bits - 1
    exact = (wanted / step - 16) / 219 if span == 1 else wanted / white
    levels = exact.clip(0, 1)[:, None] * (2**depth - 1)
    slack = 5 if depth == 16 else 0.52
    assert np.abs(made - levels).max() <= slack, "a fiftieth of a grey level"


def test_rgb_of_fewer_bits_is_rounded() -> None:
    rgb = np.random.default_rng(1).integers(0, 65536, (32, 32, 3)).astype(np.uint16)
    colour = as_rgb(Colour(matrix=1, range=1, primaries=2, transfer=2))
    for name, bits in (("rgb24", 8), ("gbrp10le", 10), ("gbrp16le", 16)):
        made = rgb_from_picture(picture_from_rgb(rgb, name, colour), colour, depth=16)
        half = 65535 / (2**bits - 1) / 2
        assert np.abs(made.astype(int) - rgb).max() <= half + 1, name


@pytest.mark.parametrize(
    "name",
    [
        "rgb48le",
        "rgba64be",
        "gbrp9le",
        "gbrp10le",
        "gbrp12le",
        "gbrp16le",
        "gbrpf32le",
        "x2rgb10le",
    ],
)
def test_levels_of_8_bits_are_kept_in_rgb_of_more(name: str) -> None:
    ramp = np.arange(256, dtype=np.uint8)
    rgb = np.stack([ramp, ramp[::-1], np.roll(ramp, 100)], -1)[None].repeat(16, 0)
    colour = as_rgb(Colour(matrix=1, range=1, primaries=2, transfer=2))
    made = picture_from_rgb(rgb, name, colour)
    assert made.format.name == name
    np.testing.assert_array_equal(rgb_from_picture(made, colour), rgb)


@pytest.mark.parametrize(("height", "matrix"), [(718, 6), (720, 1)])
def test_without_tags_the_height_decides(height: int, matrix: int) -> None:
    source, planes = picture(height, 2, 0)
    colour = colour_of(source)
    assert (colour.matrix, colour.range) == (matrix, 1)
    rgb = rgb_from_picture(source, colour)
    assert np.abs(rgb - rgb_by_formula(planes, matrix, 1)).max() < 1


@pytest.mark.parametrize("span", [1, 2])
@pytest.mark.parametrize("matrix", [1, 6, 9])
def test_there_and_back(matrix: int, span: int) -> None:
    colour = Colour(matrix=matrix, range=span, primaries=9, transfer=14)
    rgb = np.random.default_rng(1).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    made = picture_from_rgb(rgb, "yuv444p", colour)
    assert colour_of(made) == colour
    assert np.abs(rgb_by_formula(made.to_ndarray(), matrix, span) - rgb).max() < 3


def test_rgb_pictures_need_no_tags() -> None:
    rgb = np.random.default_rng(2).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    source = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    colour = colour_of(source)
    assert (colour.matrix, colour.range) == (6, 1)
    np.testing.assert_array_equal(rgb_from_picture(source, colour), rgb)


@pytest.mark.parametrize("form", ["yuv420p", "yuv422p"])
@pytest.mark.parametrize("span", [1, 2])
def test_chroma_is_interpolated_between_its_samples(form: str, span: int) -> None:
    """Along ramps whose samples lie on every other pixel, from the first on."""
    ramp = np.arange(64, dtype=np.uint8)
    planes = np.stack([np.full_like(ramp, 120), 98 + ramp, 160 - ramp])
    source = av.VideoFrame(64, 48, form)
    for plane, values in zip(source.planes, planes):
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)  # type: ignore[arg-type]
        rows[:, : plane.width] = values[:: 64 // plane.width]
    source.colorspace, source.color_range = 1, span
    made = rgb_from_picture(source, colour_of(source)).astype(float)
    error = made - rgb_by_formula(planes[:, None], 1, span)
    assert np.abs(error[:, 4:-4]).max() < 2, "twice that if FFmpeg's scaler may trade it for speed"


@pytest.mark.parametrize(("tagged", "span"), [("yuvj420p", 2), ("yuv420p", 1)])
def test_without_a_range_the_format_decides(tagged: str, span: int) -> None:
    """As of raw pictures, where no decoder says more than the name."""
    source = av.VideoFrame(16, 16, tagged)
    source.color_range = 0
    assert colour_of(source).range == span


class OnGpu:
    """A picture as NVDEC leaves it: of no format that tells anything, until it is fetched."""

    def __init__(self, picture: av.VideoFrame) -> None:
        self._picture = picture
        self.sw_format, self.format = picture.format, av.VideoFormat("cuda")
        for name in ("height", "width", "colorspace", "color_range", "color_primaries"):
            setattr(self, name, getattr(picture, name))
        self.color_trc = picture.color_trc

    def reformat(self, format: str) -> av.VideoFrame:
        assert format == self._picture.format.name
        return self._picture


@pytest.mark.parametrize("form", ["yuvj420p", "yuv420p10le", "rgb24"])
def test_a_picture_in_the_memory_of_a_gpu_means_what_it_means_here(form: str) -> None:
    rgb = np.random.default_rng(3).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    here = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=form)
    here.color_range = 0
    there: Any = OnGpu(here)
    assert colour_of(there) == colour_of(here)
    assert bits_of(format_of(there)) == bits_of(here.format)
    for depth in (8, 16):
        made, expected = (
            rgb_from_picture(picture, colour_of(here), depth=depth)  # type: ignore[arg-type]
            for picture in (there, here)
        )
        np.testing.assert_array_equal(made, expected)
