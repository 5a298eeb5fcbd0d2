"""How unsteady a translated video is, beside its source.

H height, W width. Frames are uint8 (H, W, 3). What moves is followed by block matching in the
source, and what then still changes is counted, in the source and in the translation alike.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from cyclegan.errors import DataError
from cyclegan.pictures import Picture

BLOCK = 16
RADIUS = 8
"""Pixels that a block may move between frames, across and down."""
CUT = 20.0
"""Grey levels that are left after motion from which two frames are of different scenes."""

Grid = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Flicker:
    """Mean absolute difference of consecutive frames after motion compensation, in grey levels."""

    count: int
    """Pairs of frames; those across a cut are left out."""
    source: float
    translation: float

    @property
    def ratio(self) -> float:
        """Flicker of the translation over that of the source; 1 adds none."""
        return self.translation / max(self.source, 1e-6)


def flicker(pairs: Iterable[tuple[Picture, Picture]]) -> Flicker:
    """The flicker of consecutive (source, translation) frames, all of one size.

    Raises DataError if there are no two frames of one scene, or for unequal shapes.
    """
    count, before, after = 0, 0.0, 0.0
    for (source_0, made_0), (source_1, made_1) in pairwise(pairs):
        if not source_0.shape == source_1.shape == made_0.shape == made_1.shape:
            raise DataError(f"frames of shapes {source_1.shape} and {made_1.shape}; expected equal")
        rows, columns = motion(_luminance(source_0), _luminance(source_1))
        change = _change(source_0, source_1, rows, columns)
        if change > CUT:
            continue
        count += 1
        before += change
        after += _change(made_0, made_1, rows, columns)
    if not count:
        raise DataError("no two frames of one scene; expected at least two")
    return Flicker(count=count, source=before / count, translation=after / count)


def motion(before: Grid, after: Grid) -> tuple[Grid, Grid]:
    """For every pixel of ``after`` the row and column of ``before`` that it came from.

    float32 (H, W) luminances; whole blocks move by whole pixels, each to the least sum of absolute
    differences, and not at all where that is as good.
    """
    height, width = after.shape
    size = -(-height // BLOCK) * BLOCK, -(-width // BLOCK) * BLOCK
    fill = (0, size[0] - height), (0, size[1] - width)
    now = np.pad(after, fill, mode="edge")
    real = np.pad(np.ones_like(after), fill)  # what fills up blocks has come from nowhere
    wide = np.pad(before, [(RADIUS, RADIUS + extra) for _, extra in fill], mode="edge")
    steps = sorted(
        ((y, x) for y in range(-RADIUS, RADIUS + 1) for x in range(-RADIUS, RADIUS + 1)),
        key=lambda step: abs(step[0]) + abs(step[1]),
    )
    best = np.full((size[0] // BLOCK, size[1] // BLOCK), np.inf, np.float32)
    moved = np.zeros((2, *best.shape), np.int64)
    for y, x in steps:
        there = wide[RADIUS + y :, RADIUS + x :][: size[0], : size[1]]
        blocks = (np.abs(now - there) * real).reshape(best.shape[0], BLOCK, best.shape[1], BLOCK)
        cost = blocks.sum((1, 3))
        better = cost < best
        best = np.where(better, cost, best)
        moved[:, better] = np.array([[y], [x]])
    each = np.repeat(np.repeat(moved, BLOCK, 1), BLOCK, 2)[:, :height, :width]
    rows = np.clip(np.arange(height)[:, None] + each[0], 0, height - 1)
    columns = np.clip(np.arange(width)[None] + each[1], 0, width - 1)
    return rows, columns


def _change(before: Picture, after: Picture, rows: Grid, columns: Grid) -> float:
    return float(np.abs(before[rows, columns].astype(np.int16) - after).mean())


def _luminance(picture: Picture) -> Grid:
    """ITU-R BT.601 luma, float32."""
    return picture @ np.array([0.299, 0.587, 0.114], np.float32)
