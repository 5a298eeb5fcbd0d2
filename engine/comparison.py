"""Frames that show source and translation together.

H height, W width. Frames are (H, W, 3), uint8 or uint16.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cyclegan.engine.frames import Frames

Compare = Literal["none", "side", "wipe"]
WIPE_SECONDS = 4.0
"""From left to right and back."""

Combine = Callable[[Frames, Frames, float], Frames]
"""(source, translation, seconds) -> the frame that is shown."""


def side(source: Frames, translation: Frames, seconds: float) -> Frames:
    """The source at the left, (H, 2 W, 3)."""
    return np.concatenate([source, translation], axis=1)


def wipe(source: Frames, translation: Frames, seconds: float) -> Frames:
    """The source left of a white line that moves to and fro."""
    width = source.shape[1]
    edge = round((0.5 - 0.5 * math.cos(2 * math.pi * seconds / WIPE_SECONDS)) * width)
    shown = translation.copy()
    shown[:, :edge] = source[:, :edge]
    shown[:, max(edge - 1, 0) : edge + 1] = np.iinfo(shown.dtype).max
    return shown


@dataclass(frozen=True)
class Comparison:
    """One way to compare."""

    combine: Combine
    widths: int = 1
    """How many times as wide as the source the result is."""


COMBINE: dict[Compare, Comparison] = {
    "none": Comparison(lambda source, translation, seconds: translation),
    "side": Comparison(side, 2),
    "wipe": Comparison(wipe),
}
