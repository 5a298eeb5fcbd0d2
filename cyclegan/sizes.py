"""Sizes of frames as people write them: ``640x272``, width first. Inside they are (H, W)."""

import operator
import re
from collections.abc import Sequence
from typing import cast

from cyclegan.errors import ConfigError

Size = tuple[int, int]
"""(height, width) in pixels."""
MOST_PIXELS = 1 << 26
"""Of a frame of a video, 8192x8192: what says that it is larger is damaged, or meant to fill the
memory."""


def size_from(text: str) -> Size:
    """The size that ``WIDTHxHEIGHT`` names; one number is a square's side. Raises ConfigError."""
    match = re.fullmatch(r"([1-9]\d*)(?:[xX]([1-9]\d*))?", text, re.ASCII)
    if match is None:
        raise ConfigError(
            f"got the size {text!r}; expected WIDTHxHEIGHT, such as 640x272, or one number for a "
            "square"
        )
    return int(match[2] or match[1]), int(match[1])


def checked_size(size: object) -> Size:
    """Raises ConfigError for what is no height and width from 1 up."""
    try:
        height, width = map(operator.index, cast("Sequence[int]", size))
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1:
        raise ConfigError(
            f"size is {size!r}; expected (height, width) in pixels, such as (272, 640)"
        )
    return height, width


def size_text(size: Size) -> str:
    """``WIDTHxHEIGHT``."""
    height, width = size
    return f"{width}x{height}"


def short_size_text(size: Size) -> str:
    """The side of a square as one number; of other sizes ``WIDTHxHEIGHT``."""
    height, width = size
    return str(width) if height == width else size_text(size)
