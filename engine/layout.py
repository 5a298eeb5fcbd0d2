"""What a video's frames are: one of them, and what they have in common.

H height, W width.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from cyclegan.colour import Colour, bits_of, colour_of, format_of
from cyclegan.engine.frames import Frames
from cyclegan.engine.planes import Planes
from cyclegan.side_data import side_data

if TYPE_CHECKING:
    from av import VideoFrame

Pixels = Frames | Planes
"""A picture's colours: RGB, (H, W, 3), or as decoders hold them."""
FromDecoded = Callable[["VideoFrame", Colour, tuple[int, int] | None], Pixels]
"""(decoded, its colours, the size that is wanted) -> what a translator takes."""


@dataclass(frozen=True, kw_only=True)
class TimedFrame:
    """A decoded frame."""

    frame: Pixels
    pts: int
    """Presentation time in units of the stream's time base."""
    duration: int
    """In the same unit; 0 if unknown."""
    at: float = 0.0
    """When it was decoded, by ``time.perf_counter``."""


@dataclass(frozen=True)
class Decoded:
    """A decoded frame of which nothing was made yet."""

    decoded: "VideoFrame"
    pts: int
    duration: int
    size: tuple[int, int] | None

    def picture(self, convert: FromDecoded) -> TimedFrame:
        """The frame as a translator takes it."""
        at = time.perf_counter()
        frame = convert(self.decoded, colour_of(self.decoded), self.size)
        return TimedFrame(frame=frame, pts=self.pts, duration=self.duration, at=at)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What all frames of a video have in common."""

    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    """Average frames per second, for the encoder's rate control."""
    pixel_aspect: Fraction | None
    display_matrix: tuple[int, ...] | None
    """How players turn and mirror the pictures (nine numbers as FFmpeg has them); None: not."""
    colour: Colour
    format: Any
    """PyAV's format of the decoded pictures."""
    lost: tuple[str, ...] = ()
    """What the pictures have that no result gets, in words."""

    @property
    def is_deep(self) -> bool:
        """Whether a channel has more than 8 bits."""
        return bits_of(self.format) > 8


def has_alpha(picture: "VideoFrame") -> bool:
    """Whether pixels of ``picture`` may be transparent; of one with a palette, whether any is."""
    pixels = format_of(picture)
    if pixels.has_palette:
        codes, palette = picture.to_ndarray()
        is_clear = palette[:, 0] < 255  # also colours that are none, which no pixel has
        return bool(is_clear.any() and is_clear[codes].any())
    return any(part.is_alpha for part in pixels.components)


def lost_of(picture: "VideoFrame") -> tuple[str, ...]:
    """What of ``picture`` is lost in translation, in words."""
    found = side_data(picture) or {}
    interlaced = ("the order of fields: frames are interlaced, the result says they are not",)
    return (interlaced if picture.interlaced_frame else ()) + tuple(
        words for name, words in _LOST.items() if name in found
    )


_LOST = {
    "A53_CC": "closed captions (CEA-608, CEA-708), which lie in the pictures",
    "MASTERING_DISPLAY_METADATA": "HDR metadata: the display that it was made for",
    "CONTENT_LIGHT_LEVEL": "HDR metadata: how bright it is at most",
    "DYNAMIC_HDR_PLUS": "HDR metadata: HDR10+",
    "DOVI_METADATA": "HDR metadata: Dolby Vision",
}
"""Side data of FFmpeg, by PyAV's names."""
