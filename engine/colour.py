"""Between decoded pictures and RGB frames, by what a video says about its colours.

H height, W width. Codes are those of ITU-T H.273, as FFmpeg has them. A matrix that is not given is
taken to be BT.709 from 720 lines up and BT.601 below, as players do, and the result is tagged so.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from cyclegan.engine.tickets import Frames

if TYPE_CHECKING:
    from av import VideoFrame

RGB, BT709, UNSPECIFIED, BT601 = 0, 1, 2, 6
LIMITED, FULL = 1, 2
HD_LINES = 720


@dataclass(frozen=True, kw_only=True)
class Colour:
    """How the numbers of a Y'CbCr picture stand for colours."""

    matrix: int
    range: int
    primaries: int
    transfer: int


def colour_of(picture: "VideoFrame") -> Colour:
    """What ``picture`` says, with the gaps filled. For RGB pictures, what to encode them as."""
    is_rgb = picture.format.is_rgb
    matrix, span = int(picture.colorspace), int(picture.color_range)
    if is_rgb or matrix in (RGB, UNSPECIFIED):
        matrix = BT709 if picture.height >= HD_LINES else BT601
    if is_rgb or span not in (LIMITED, FULL):
        span = FULL if picture.format.name.startswith("yuvj") else LIMITED
    return Colour(
        matrix=matrix,
        range=span,
        primaries=int(picture.color_primaries),
        transfer=int(picture.color_trc),
    )


def rgb_from_picture(
    picture: "VideoFrame", colour: Colour, size: tuple[int, int] | None = None
) -> Frames:
    """uint8 (H, W, 3) in [0, 255], full range, of a decoded picture, scaled to ``size`` (H, W)."""
    tags = {}
    if not picture.format.is_rgb:
        tags = {"src_colorspace": colour.matrix, "src_color_range": colour.range}
    height, width = size or (picture.height, picture.width)
    picture = picture.reformat(
        width,
        height,
        format="rgb24",
        dst_color_range=FULL,
        interpolation=_exact(),
        threads=1,
        **tags,
    )
    return cast(Frames, picture.to_ndarray())


def picture_from_rgb(frame: Frames, pixel_format: str, colour: Colour) -> "VideoFrame":
    """A picture in ``pixel_format``, tagged with ``colour``, of uint8 (H, W, 3) in [0, 255].

    For formats that are RGB themselves, ``colour`` is :func:`as_rgb` of the video's.
    """
    from av import VideoFrame

    picture = VideoFrame.from_ndarray(frame, format="rgb24")
    if colour.matrix != RGB:
        picture = picture.reformat(
            format=pixel_format,
            dst_colorspace=colour.matrix,
            dst_color_range=colour.range,
            interpolation=_exact(),
            threads=1,
        )
    elif pixel_format != "rgb24":
        picture = picture.reformat(format=pixel_format, threads=1)
    picture.colorspace, picture.color_range = colour.matrix, colour.range
    picture.color_primaries, picture.color_trc = colour.primaries, colour.transfer
    return picture


def as_rgb(colour: Colour) -> Colour:
    """The tags of frames that are stored as RGB."""
    return replace(colour, matrix=RGB, range=FULL)


def _exact() -> int:
    """Without these flags FFmpeg's scaler trades up to 3 grey levels for speed."""
    from av.video.reformatter import Interpolation

    return int(Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT)
