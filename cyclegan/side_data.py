"""What decoded pictures carry beside their colours, and how it turns and mirrors them."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

if TYPE_CHECKING:
    from av import VideoFrame

_UPRIGHT = (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)


def side_data(picture: "VideoFrame") -> Mapping[str, Any] | None:
    """By PyAV's names, to be asked for one: what it gives one after the other is the data before
    PyAV 19, and their types since.

    None where PyAV cannot tell: FFmpeg has types that it did not know before 19, such as EXIF.
    """
    try:
        sides: Any = picture.side_data
        return cast(Mapping[str, Any], sides)
    except ValueError:
        return None


def display_matrix(picture: "VideoFrame") -> tuple[int, ...] | None:
    """How players turn and mirror ``picture``; None: not at all."""
    sides = side_data(picture)
    if sides is None:
        return _turned(picture.rotation)
    found = sides.get("DISPLAYMATRIX")
    matrix = tuple(np.frombuffer(bytes(found), np.int32).tolist()) if found else _UPRIGHT
    return None if matrix == _UPRIGHT else matrix


def _turned(degrees: int) -> tuple[int, ...] | None:
    """The matrix that turns pictures counterclockwise; mirroring is not known here."""
    cosine, sine = (round(f(math.radians(degrees)) * (1 << 16)) for f in (math.cos, math.sin))
    return (cosine, -sine, 0, sine, cosine, 0, 0, 0, 1 << 30) if degrees else None
