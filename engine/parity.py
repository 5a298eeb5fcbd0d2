"""How far an engine is from the float32 generator that it was made from.

N batch, H height, W width, C channels.
"""

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cyclegan.engine.frames import Frames
from cyclegan.engine.translator import Translator
from cyclegan.errors import FrameError

if TYPE_CHECKING:
    from cyclegan.networks import Generator


@dataclass(frozen=True, kw_only=True)
class Parity:
    """Differences between two translations of the same frames, in grey levels of 0..255."""

    frames: int
    max_abs: int
    mean_abs: float
    psnr_db: float
    """Peak signal-to-noise ratio over all frames; infinite where they are equal."""
    equal_share: float
    """Of the values that are equal to the last bit, in [0, 1]."""


def parity(
    engine: Translator,
    generator: "str | os.PathLike[str] | Generator",
    frames: Frames,
) -> Parity:
    """Compare ``engine`` with the float32 eager PyTorch ``generator`` on uint8 (N, H, W, C).

    Use real frames: on noise, rounding differences are unlike those that anyone will see. Raises
    BackendError when ``generator`` is a file that PyTorch cannot run, and what a Translator raises.
    """
    with Translator.open(generator, backend="torch", precision="float32", device="cpu") as exact:
        return compare(engine(frames), exact(frames))


def compare(frames: Frames, expected: Frames) -> Parity:
    """The differences between two uint8 arrays of one shape (N, H, W, C) or (H, W, C).

    Raises FrameError for others, and where there are none.
    """
    if not frames.dtype == expected.dtype == np.uint8:
        raise FrameError(f"got {frames.dtype} and {expected.dtype}; expected uint8")
    if frames.shape != expected.shape or frames.ndim not in (3, 4) or not frames.size:
        raise FrameError(
            f"got shapes {frames.shape} and {expected.shape} to compare; expected one and the "
            "same, (N, H, W, C) or (H, W, C), none empty: translate the same frames with both"
        )
    difference = np.abs(frames.astype(np.int16) - expected.astype(np.int16))
    mean_square = float(np.square(difference, dtype=np.float64).mean())
    return Parity(
        frames=len(frames) if frames.ndim == 4 else 1,
        max_abs=int(difference.max()),
        mean_abs=float(difference.mean()),
        psnr_db=10 * math.log10(255**2 / mean_square) if mean_square else math.inf,
        equal_share=float((difference == 0).mean()),
    )
