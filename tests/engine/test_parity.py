import math

import numpy as np
import pytest

from cyclegan.engine.parity import compare, parity
from cyclegan.engine.translator import Translator
from cyclegan.errors import FrameError
from cyclegan.networks import Generator


def test_equal_frames() -> None:
    frames = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    score = compare(frames, frames)
    assert (score.frames, score.max_abs, score.mean_abs, score.equal_share) == (2, 0, 0.0, 1.0)
    assert score.psnr_db == math.inf


def test_known_differences() -> None:
    zeros = np.zeros((10, 10, 1), np.uint8)
    frames = zeros.copy()
    frames[:5] = 255
    score = compare(frames, zeros)
    assert (score.frames, score.max_abs, score.equal_share) == (1, 255, 0.5)
    assert score.mean_abs == pytest.approx(127.5)
    assert score.psnr_db == pytest.approx(10 * math.log10(2))
    assert compare(zeros, frames) == score
    with pytest.raises(FrameError, match="got uint16 and uint16; expected uint8"):
        compare(zeros.astype(np.uint16), zeros.astype(np.uint16))


@pytest.mark.parametrize(
    ("made", "exact"),
    [
        ((4, 8, 8, 3), (1, 8, 8, 3)),
        ((8, 8, 3), (8, 8, 1)),
        ((2, 8, 8, 3), (8, 8, 3)),
        ((0, 8, 8, 3), (0, 8, 8, 3)),
        ((8, 8), (8, 8)),
    ],
)
def test_frames_of_two_shapes_or_none_have_no_difference(
    made: tuple[int, ...], exact: tuple[int, ...]
) -> None:
    with pytest.raises(
        FrameError, match=r"got shapes \(.*\) and \(.*\) .*expected one and the same"
    ):
        compare(np.zeros(made, np.uint8), np.zeros(exact, np.uint8))


def test_an_engine_is_compared_with_its_own_generator(
    translator: Translator, generator: Generator, frames: np.ndarray
) -> None:
    score = parity(translator, generator, frames[:2])
    assert score.frames == 2
    assert score.max_abs <= 1
    assert score.psnr_db > 70
