"""Between decoded pictures and RGB frames, by what a video says about its colours.

H height, W width. Codes are those of ITU-T H.273, as FFmpeg has them. A matrix that is not given is
taken to be BT.709 from 720 lines up and BT.601 below, as players do, and the result is tagged so.

Frames of 16 bits are scaled so that white is 65535. FFmpeg's scaler has white elsewhere: at 255 x
256 for limited range, and at the source's largest code, shifted up, for full range. The difference
is made good here, by repeating the upper bits below.
"""

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from cyclegan.config import Depth
from cyclegan.errors import VideoError

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.reformatter import VideoReformatter

_Frame = npt.NDArray[np.uint8 | np.uint16]
RGB, BT709, UNSPECIFIED, BT601_625, BT601, BT2020 = 0, 1, 2, 5, 6, 9
_CONVERTED = (RGB, BT709, UNSPECIFIED, 4, BT601_625, BT601, 7, BT2020)
"""Matrices that FFmpeg's scaler knows."""
_OTHERS = {8: "YCgCo", 10: "BT.2020 with constant luminance", 14: "ICtCp"}
LIMITED, FULL = 1, 2
GREY = ("gray", "ya")
"""How pixel formats begin that FFmpeg's scaler gives full range, whatever it is asked for."""
HD_LINES = 720


@dataclass(frozen=True, kw_only=True)
class Colour:
    """How the numbers of a Y'CbCr picture stand for colours."""

    matrix: int
    range: int
    primaries: int
    transfer: int


def colour_of(picture: "VideoFrame") -> Colour:
    """What ``picture`` says, with the gaps filled. For RGB pictures, what to encode them as.

    Raises VideoError for colours that cannot be converted.
    """
    pixels = format_of(picture)
    is_rgb = pixels.is_rgb
    matrix, span = int(picture.colorspace), int(picture.color_range)
    if not is_rgb and matrix not in _CONVERTED:
        name = _OTHERS.get(matrix, "what FFmpeg does not know")
        raise VideoError(
            f"the colours of the source are coded as {name} (matrix {matrix} of ITU-T H.273), and "
            "are not converted here; make BT.709 of them first, as by ffmpeg -vf zscale=matrix=709"
        )
    if is_rgb or matrix in (RGB, UNSPECIFIED):
        matrix = assumed_matrix(picture.height)
    if is_rgb or span not in (LIMITED, FULL):
        span = FULL if pixels.name.startswith("yuvj") else LIMITED
    return Colour(
        matrix=matrix,
        range=span,
        primaries=int(picture.color_primaries),
        transfer=int(picture.color_trc),
    )


def assumed_matrix(lines: int) -> int:
    """What players take untagged pictures of so many lines for."""
    return BT709 if lines >= HD_LINES else BT601


def format_of(picture: "VideoFrame") -> Any:
    """PyAV's format of a picture; of one in a GPU's memory, that of the numbers there."""
    return picture.sw_format or picture.format


def tag(picture: "VideoFrame", colour: Colour) -> None:
    """Say in ``picture`` what its numbers mean."""
    picture.colorspace, picture.color_range = colour.matrix, colour.range
    picture.color_primaries, picture.color_trc = colour.primaries, colour.transfer


def bits_of(pixel_format: Any) -> int:
    """Of a channel, in PyAV's format of a picture."""
    return max((part.bits for part in pixel_format.components), default=8)


def rgb_from_picture(
    picture: "VideoFrame",
    colour: Colour,
    size: tuple[int, int] | None = None,
    depth: Depth = 8,
    converter: "VideoReformatter | None" = None,
) -> _Frame:
    """(H, W, 3) of ``depth`` bits, full range, of a decoded picture, scaled to ``size`` (H, W).

    Processes that may be forks give a ``converter`` of their own: PyAV 19 keeps one for each thread
    of Python, and a fork would wait for ever for threads that the one it inherits had.
    """
    from av import VideoFrame

    reformat = converter.reformat if converter else VideoFrame.reformat
    tags = {}
    if picture.sw_format is not None:
        picture = picture.reformat(format=picture.sw_format.name)  # out of the GPU's memory
    bits = min(bits_of(picture.format), 16)
    is_limited_grey = picture.format.name.startswith(GREY) and int(picture.color_range) == LIMITED
    is_rgb = picture.format.is_rgb
    has_chroma = not is_rgb and len(picture.format.components) >= 3
    is_limited = has_chroma and colour.range == LIMITED
    # Where the scaler makes 8 bits of more, they come out too high unless the range is limited.
    is_wide = (has_chroma or bits > 8) if depth == 16 else (bits > 8 and not is_limited)
    if is_wide and is_rgb:  # to all bits first: scaled in the same step, white would be less
        picture, bits = reformat(picture, format="rgb48le", threads=1), 16
    if not picture.format.is_rgb:
        tags = {"src_colorspace": colour.matrix, "src_color_range": colour.range}
    height, width = size or (picture.height, picture.width)
    picture = reformat(
        picture,
        width,
        height,
        format="rgb48le" if is_wide else "rgb24",
        dst_color_range=FULL,
        interpolation=exact(),
        threads=1,
        **tags,
    )
    frame = cast(_Frame, picture.to_ndarray())
    if is_wide:
        frame = _widened(frame, 8 if is_limited else bits)
    elif depth == 16:
        frame = frame * np.uint16(257)
    if is_limited_grey:
        frame = _stretched(frame.dtype, bits)[frame]
    return _in_8_bits(frame) if is_wide and depth == 8 else frame


def picture_from_rgb(frame: _Frame, pixel_format: str, colour: Colour) -> "VideoFrame":
    """A picture in ``pixel_format``, tagged with ``colour``, of (H, W, 3), uint8 or uint16.

    For formats that are RGB themselves, ``colour`` is :func:`as_rgb` of the video's. What the
    format has fewer bits for is rounded.
    """
    from av import VideoFormat, VideoFrame

    bits, to_rgb = bits_of(VideoFormat(pixel_format)), colour.matrix == RGB
    # Where the scaler makes more bits of 8, white is too low, but in packed RGB of 10 (x2rgb10le).
    if frame.dtype == np.uint8 and to_rgb and bits > 8 and not pixel_format.startswith("x2"):
        frame = frame * np.uint16(257)
    if frame.dtype == np.uint16:
        frame = _narrowed(frame, bits, to_rgb)
    given = "rgb24" if frame.dtype == np.uint8 else "rgb48le"
    picture = VideoFrame.from_ndarray(cast(Any, frame), format=given)
    if colour.matrix != RGB:
        picture = picture.reformat(
            format=pixel_format,
            dst_colorspace=colour.matrix,
            dst_color_range=colour.range,
            interpolation=exact(),
            threads=1,
        )
    elif pixel_format != given:
        picture = picture.reformat(format=pixel_format, threads=1)
    tag(picture, colour)
    return picture


def as_rgb(colour: Colour) -> Colour:
    """The tags of frames that are stored as RGB."""
    return replace(colour, matrix=RGB, range=FULL)


def _widened(frame: _Frame, shift: int) -> _Frame:
    """uint16 in which white is 65535, of such in which its lower 16 - ``shift`` bits are 0."""
    frame = np.minimum(frame, np.uint16(0xFFFF & ~(0xFFFF >> shift)))
    frame += frame >> shift
    return frame


@functools.cache
def _stretched(kind: np.dtype[Any], bits: int) -> _Frame:
    """What each code of ``kind`` is in full range, where it is of greys of ``bits`` whose limited
    range was taken for it."""
    peak = np.iinfo(kind).max
    step = peak * 2 ** (bits - 8) / (2**bits - 1)  # 1 in codes of 8 bits
    levels = (np.arange(peak + 1) - 16 * step) * (peak / (219 * step))
    return cast(_Frame, levels.round().clip(0, peak).astype(kind))


def _in_8_bits(frame: _Frame) -> _Frame:
    """uint16 in [0, 65535], rounded to the nearest of uint8 in [0, 255]."""
    below = np.minimum(frame, np.uint16(0xFFFF - 128))  # it stays 255, and half a level fits on top
    return ((below + np.uint16(128)) // np.uint16(257)).astype(np.uint8)


def _narrowed(frame: _Frame, bits: int, to_rgb: bool) -> _Frame:
    """uint16 as the scaler wants it for a format of ``bits``; uint8 where that holds no more."""
    if bits <= 8:  # the scaler would add noise
        return _in_8_bits(frame)
    if not to_rgb:
        return frame - (frame >> 8)
    if bits >= 16:
        return frame
    # The scaler cuts the lower bits off.
    return frame - (frame >> bits) + np.uint16(1 << (15 - bits))


def exact() -> int:
    """Without these flags FFmpeg's scaler trades up to 3 grey levels for speed."""
    from av.video.reformatter import Interpolation

    return int(Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT)
