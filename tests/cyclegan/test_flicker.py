import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclegan.errors import DataError
from cyclegan.flicker import RADIUS, flicker, motion

RANDOM = np.random.default_rng(0)
TEXTURE = np.kron(RANDOM.integers(0, 256, (40, 50, 3)), np.ones((3, 3, 1))).astype(np.uint8)


def panned(count: int, step: int = 3) -> list[np.ndarray]:
    return [TEXTURE[10:74, 4 + n * step : 84 + n * step] for n in range(count)]


@given(y=st.integers(-RADIUS, RADIUS), x=st.integers(-RADIUS, RADIUS))
def test_motion_is_found(y: int, x: int) -> None:
    grey = TEXTURE.mean(2).astype(np.float32)
    before, after = grey[16:80, 16:96], grey[16 + y : 80 + y, 16 + x : 96 + x]
    rows, columns = motion(before, after)
    inner = slice(16, 48)
    np.testing.assert_array_equal(before[rows, columns][inner, inner], after[inner, inner])


def test_blocks_that_reach_over_the_edge_move_as_their_pixels_do() -> None:
    grey = TEXTURE.mean(2).astype(np.float32)
    before, after = grey[16:82, 16:98], grey[11:77, 11:93]
    rows, columns = motion(before, after)
    np.testing.assert_array_equal(before[rows, columns][16:, 16:], after[16:, 16:])


def test_what_is_flat_has_not_moved() -> None:
    rows, columns = motion(*(np.full((32, 48), 90, np.float32) for _ in range(2)))
    assert (rows == np.arange(32)[:, None]).all()
    assert (columns == np.arange(48)).all()


def test_what_only_moves_does_not_flicker() -> None:
    frames = panned(5)
    score = flicker((frame, frame) for frame in frames)
    assert score.count == 4
    # Only at the edge does something new come in.
    assert score.source == score.translation < 8
    assert score.ratio == 1


def test_flicker_of_the_translation_is_counted_in_grey_levels() -> None:
    still = [TEXTURE[:64, :80] // 2 + 40] * 6
    made = [frame + np.uint8(6 * (n % 2)) for n, frame in enumerate(still)]
    score = flicker(zip(still, made))
    assert (score.source, score.translation) == (0, 6)
    assert score.ratio > 1e5


def test_cuts_are_left_out() -> None:
    frames = [*panned(3), *(255 - frame for frame in panned(3))]
    assert flicker((frame, frame) for frame in frames).count == 4


def test_frames_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(DataError, match="expected at least two"):
        flicker([(TEXTURE, TEXTURE)])
    with pytest.raises(DataError, match="expected equal"):
        flicker([(TEXTURE, TEXTURE), (TEXTURE, TEXTURE[:9])])
