"""Where a source ends, beside where it said it would: what is truncated, and what is whole."""

import math
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from cyclegan.engine.pipes import Pipe

if TYPE_CHECKING:
    from av import Packet

Y4M = "yuv4mpegpipe"
_STATED_DURATION = ("mov,mp4", "matroska")
"""Formats that state their duration; others have it guessed from what there is."""

_AVI_ENTRY = 16
"""Bytes of a frame in the index that ends an .avi: where that is there, frames that are missing at
the end were never there, but counted, as recorders do with those that they drop."""


class Ending:
    """What the packets of a source reach, and what the source says of itself."""

    def __init__(
        self,
        container: Any,
        video: Any,
        pipe: Pipe | None = None,
        *,
        copied: Collection[Any] = (),
        left: Collection[Any] = (),
    ) -> None:
        """PyAV's container, the stream that is decoded, and the pipe that all comes through.

        ``copied``: streams that are read beside it. ``left``: others, which may be longer.
        """
        self._container, self._video, self._pipe = container, video, pipe
        self._read, self._left = (video, *copied), left
        self._last_byte = 0
        """Behind the last packet."""
        self._seconds = 0.0
        self.video_seconds = 0.0
        """At which the last frame that was seen ends."""

    def note(self, packet: "Packet[Any]") -> None:
        """Take one more packet into account."""
        if packet.pos is not None:
            self._last_byte = max(self._last_byte, packet.pos + packet.size)
        if packet.pts is not None:
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            self._seconds = max(self._seconds, end)
            if packet.stream is self._video:
                self.video_seconds = max(self.video_seconds, end)
        elif packet.stream is self._video and packet.duration:  # of a raw stream
            self.video_seconds += float(packet.duration * packet.time_base)

    def problem(self, packets: int | None) -> str | None:
        """How early the source ended; None if it is whole.

        ``packets``: how many its video had; None where it was not read from its beginning.
        """
        more = self._bytes() - self._last_byte
        if self._container.format.name == Y4M and more > 0 and self._last_byte > 0:
            return f"its last picture is not whole: {more} bytes of it are there"
        if packets is not None and packets < self._video.frames and self._video_ends_early():
            dropped = self._container.format.name == "avi" and more >= packets * _AVI_ENTRY
            if not dropped:
                return f"it ends after {packets} of {self._video.frames} frames"
        end, stated, slack = self._stated()
        return f"it ends after {end:.2f} of {stated:.2f} seconds" if end < stated - slack else None

    def _bytes(self) -> int:
        """Of the source; below 1 where that is not known."""
        # Before 19, PyAV gave FFmpeg's negative number of an error in place of None.
        return int(self._pipe.bytes if self._pipe else self._container.size or 0)

    def _stated(self) -> tuple[float, float, float]:
        """Seconds: where the source ends, where it said it would, and what may lie between them."""
        form, duration = self._container.format.name, self._container.duration
        if not duration or not form.startswith(_STATED_DURATION):
            return self._seconds, 0.0, 0.0
        stated = duration / 1e6
        if form.startswith("mov,mp4"):
            stated += max(self._container.start_time or 0, 0) / 1e6
            stated = min(stated, self._longest_read()) if self._left else stated
            return self._seconds, stated, max(1.0, 0.02 * stated)
        # Matroska states ends, not lengths; that of the video by itself mostly in a tag.
        own = _seconds_of(self._video.metadata.get("DURATION", ""))
        frames = 1.5 * self._frame_seconds()
        if own is not None:
            return self.video_seconds, own, max(frames, 0.05)
        return self._seconds, 0.0 if self._left else stated, max(frames, 0.5)

    def _longest_read(self) -> float:
        """Second at which the last of the streams that are read ends, as far as they say so."""
        return max((_stated_end(s) for s in self._read if s.duration), default=math.inf)

    def _frame_seconds(self) -> float:
        return 1 / float(self._video.average_rate or 25)

    def _video_ends_early(self) -> bool:
        """Whether the frames end before the stated time; a trimmed clip also counts hidden ones."""
        video = self._video
        if video.duration is None:
            return True
        return self.video_seconds < _stated_end(video) - 1.5 * self._frame_seconds()


def _stated_end(stream: Any) -> float:
    """Second at which a stream ends that states its duration."""
    return float((stream.duration + (stream.start_time or 0)) * stream.time_base)


def _seconds_of(clock: str) -> float | None:
    """Of a time such as 00:01:02.500000000; None of anything else."""
    try:
        hours, minutes, seconds = map(float, clock.split(":"))
    except ValueError:
        return None
    return 3600 * hours + 60 * minutes + seconds
