"""How a result codes its colours: as the source does, as far as readers are told of it, and else as
they assume.

Codecs are called by FFmpeg's canonical names, containers by those of its muxers. The tables are
what came back of tagged pictures that were written with each; others are taken to tell nothing.
"""

from dataclasses import replace
from typing import Any

from cyclegan.colour import (
    BT601,
    BT709,
    FULL,
    GREY,
    LIMITED,
    UNSPECIFIED,
    Colour,
    as_rgb,
    assumed_matrix,
)

_FIXED = {
    "mjpeg": (BT601, FULL),
    "ljpeg": (BT601, FULL),
    "tiff": (BT601, LIMITED),
    "webp": (BT601, LIMITED),
    "vp8": (BT601, LIMITED),
    "speedhq": (BT601, LIMITED),
    "dnxhd": (BT709, LIMITED),
}
"""Matrix and range of codecs that are read so whatever a container says."""
_TELL_MATRIX = {
    *("h264", "hevc", "vp9", "av1", "mpeg2video", "prores"),
    *("mp4", "mov", "matroska", "webm", "mxf"),
}
_TELL_RANGE = {
    *("h264", "hevc", "vp9", "av1"),
    *("mp4", "matroska", "webm", "mxf", "yuv4mpegpipe"),
}
_ALL_OR_NOTHING = {"mp4", "mov"}
"""Containers that tell nothing unless primaries and transfer are known too."""
_LIMITED = {"mpeg1video", "mpeg2video", "prores", "magicyuv"}
"""Codecs that are read as limited range whatever a container says."""
_FULL = ("yuvj", *GREY)
"""How pixel formats begin whose numbers are of full range, whatever is asked for."""


def result_colour(colour: Colour, pixels: Any, *, codec: str, container: str, lines: int) -> Colour:
    """What to convert pictures of ``colour`` to, and to tag them with.

    ``pixels`` is PyAV's format of the result's pictures, ``lines`` their height.
    """
    if pixels.is_rgb:
        return as_rgb(colour)
    if codec in _FIXED:
        matrix, span = _FIXED[codec]
    else:
        told_by = {codec, container}
        if UNSPECIFIED in (colour.primaries, colour.transfer):
            told_by -= _ALL_OR_NOTHING
        matrix = colour.matrix if told_by & _TELL_MATRIX else assumed_matrix(lines)
        keeps_range = told_by & _TELL_RANGE and codec not in _LIMITED
        span = colour.range if keeps_range else LIMITED
    if pixels.name.startswith(_FULL):
        span = FULL
    return replace(colour, matrix=matrix, range=span)
