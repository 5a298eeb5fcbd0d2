"""Conversions against the formula of ITU-T H.273, computed here in floating point."""

import av
import numpy as np
import pytest

from cyclegan.engine.colour import Colour, colour_of, picture_from_rgb, rgb_from_picture

WEIGHTS = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
"""Of red and blue in luma, by matrix."""


def rgb_by_formula(planes: np.ndarray, matrix: int, span: int) -> np.ndarray:
    y, cb, cr = planes.astype(float)
    if span == 2:
        y, cb, cr = y / 255, (cb - 128) / 255, (cr - 128) / 255
    else:
        y, cb, cr = (y - 16) / 219, (cb - 128) / 224, (cr - 128) / 224
    red, blue = WEIGHTS[matrix]
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    g = (y - red * r - blue * b) / (1 - red - blue)
    return (np.stack([r, g, b], -1) * 255).clip(0, 255)


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
