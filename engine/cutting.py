"""A part cut out of a video: what of the source belongs to it, and at which times it then lies.

Times stay the integers that the source has, in its own time base, but that the part begins at zero.
"""

import contextlib
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from cyclegan.demuxing import demuxed
from cyclegan.errors import ConfigError
from cyclegan.sizes import checked_size

if TYPE_CHECKING:
    from av import Packet, VideoFrame

LATEST = 4e9
"""Seconds, 126 years: what FFmpeg's times of 64 bits hold in every unit that it has."""
_SEEKABLE = ("mov,mp4", "matroska")
"""Formats whose index is to be trusted."""
_IN_ORDER_OF_DECODING = ("avi",)
"""Formats that tell when frames are decoded alone; FFmpeg takes that for when they are shown."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What of a video is read, and how large."""

    start: float = 0.0
    """Second at which a video is begun, from the time that the source calls zero."""
    end: float | None = None
    """Second at which it is ended: frames from there on are left out."""
    size: tuple[int, int] | None = None
    """Scale frames to it before they are translated: WIDTHxHEIGHT, such as 640x272, or one number
    for a square; in Python (height, width)."""

    def __post_init__(self) -> None:
        end = math.inf if self.end is None else self.end
        if not 0 <= self.start < end or self.end == math.inf:
            raise ConfigError(
                f"got the part from {self.start} to {self.end} s; expected 0 <= start < end"
            )
        if self.start > LATEST:
            raise ConfigError(f"got the start {self.start} s; expected at most {LATEST:.0f}")
        if self.size is not None and max(checked_size(self.size)) > 32768:
            raise ConfigError(f"got the size {self.size}; expected sides of 1 to 32768 pixels")


class Cutter:
    """Cuts ``part`` out of PyAV's ``container``, whose pictures are those of ``video``."""

    def __init__(self, part: Part, container: Any, video: Any) -> None:
        self._part, self._container, self._video = part, container, video
        # From the beginning on is also what lies before zero, as the sound that AAC begins with.
        self._start = part.start or -math.inf
        self._end = math.inf if part.end is None else part.end
        self._next = 0
        """Where the last picture ends, in its time base."""
        self._is_whole = not part.start and part.end is None

    def seek(self) -> None:
        """Go to a key frame that is shown before the part; what follows is decoded and dropped.

        An .mp4 is searched by when frames are decoded: the key frame found may be shown later.
        """
        start = self._part.start
        if not start or not self._container.format.name.startswith(_SEEKABLE):
            return
        back = 0.0
        while back < start:
            self._seek_to(start - back)
            if self._next_shown() <= start:
                break
            back = max(1.0, 2 * back)
        self._seek_to(max(start - back, 0))

    def _seek_to(self, second: float) -> None:
        self._container.seek(int(second / self._video.time_base), stream=self._video, backward=True)

    def _next_shown(self) -> float:
        """At which second the next frame to be decoded is shown; none of what cannot be read."""
        import av

        with contextlib.suppress(av.FFmpegError):
            for packet in demuxed(self._container, self._video):
                if packet.pts is not None:
                    return float(packet.pts * packet.time_base)
        return -math.inf

    def chapters(self) -> list[Any]:
        """PyAV's chapters, cut to the part."""
        cut = []
        for chapter in self._container.chapters():
            shift = self._shift(chapter["time_base"])
            start, end = max(chapter["start"] - shift, 0), chapter["end"] - shift
            if self._part.end is not None:
                length = self._part.end - self._part.start
                end = min(end, int(length / chapter["time_base"]))
            if end > start:
                cut.append({**chapter, "start": start, "end": end})
        return cut

    def base(self, picture: "VideoFrame") -> Fraction:
        """The time base of a picture."""
        base: Fraction = picture.time_base or self._video.time_base
        return base

    def set_time(self, picture: "VideoFrame") -> None:
        """That of one without, as in raw streams, is when the one before ends.

        All pictures must come here in their order, and before anything is asked about them.
        """
        decoded = self._container.format.name in _IN_ORDER_OF_DECODING
        when = picture.dts if decoded else picture.pts
        picture.pts = self._next if when is None else int(when)
        rate = self._video.guessed_rate or 25
        duration = picture.duration or round(1 / (rate * self.base(picture)))
        self._next = picture.pts + max(int(duration), 1)

    def time_of(self, picture: "VideoFrame") -> int:
        """Its time since the part's beginning, in units of :meth:`base`.

        May be below zero: the times of some sources are.
        """
        return self._when(picture) - self._shift(self.base(picture))

    def duration_of(self, picture: "VideoFrame", when: int) -> int:
        """How long it is shown from ``when`` on, until the part ends; 0 where that is not known."""
        duration = int(picture.duration or 0)
        if self._part.end is None:
            return duration
        end = math.ceil((self._part.end - self._part.start) / self.base(picture) - 1e-3)
        return min(duration, max(end - when, 1))

    def seconds_of(self, picture: "VideoFrame") -> float:
        """Its time in the source."""
        return float(self._when(picture) * self.base(picture))

    def is_early(self, picture: "VideoFrame") -> bool:
        """Whether it comes before the part."""
        return bool(self._part.start) and self.time_of(picture) < 0

    def is_late(self, picture: "VideoFrame") -> bool:
        """Whether it comes after the part."""
        if self._part.end is None:
            return False
        end = self._part.end / self.base(picture)
        # A float may lie behind the time it stands for.
        return self._when(picture) >= math.ceil(end - 1e-3)

    def is_past(self, packet: "Packet[Any]") -> bool:
        """Whether it lies so far behind the part's end that no packet of the part can follow."""
        when = packet.pts if packet.dts is None else packet.dts
        return when is None or float(when * packet.time_base) > (self._part.end or 0) + 1

    def packet(self, packet: "Packet[Any]") -> "Packet[Any] | None":
        """A packet to copy, at its time in the part; None if it has no time, or lies outside."""
        if packet.pts is None and packet.dts is None:
            return None
        packet.dts = packet.pts if packet.dts is None else packet.dts
        if packet.pts is None or self._is_whole:
            return packet
        if packet.stream.type == "subtitle" and packet.duration:
            self._clip(packet)
        if not self._start <= float(packet.pts * packet.time_base) < self._end:
            return None
        shift = self._shift(packet.time_base)
        packet.pts -= shift
        packet.dts = packet.pts if packet.dts is None else packet.dts - shift
        return packet

    def _clip(self, packet: "Packet[Any]") -> None:
        """To what of a text on the screen lies within the part."""
        assert packet.pts is not None
        start, stop = self._shift(packet.time_base), packet.pts + int(packet.duration or 0)
        if self._part.end is not None:
            stop = min(stop, round(self._part.end / packet.time_base))
        if packet.pts < start < stop:
            packet.pts = packet.dts = start
        packet.duration = max(stop - packet.pts, 0)

    def _when(self, picture: "VideoFrame") -> int:
        """In its time base; below zero too, where times do not begin there."""
        assert picture.pts is not None, "it was set"
        return int(picture.pts)

    def _shift(self, time_base: Fraction) -> int:
        return round(self._part.start / time_base) if self._part.start else 0
