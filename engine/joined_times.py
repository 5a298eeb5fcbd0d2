"""Times of recordings that were joined end to end, each with times of its own: made to go on.

Streams that are broadcast may begin anew at any time, and programs that join files leave it so.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from cyclegan.engine.stray_times import StrayTimes

if TYPE_CHECKING:
    from av import Packet

_JOINABLE = ("mpegts", "mpeg", "hls", "flv")
"""FFmpeg's formats whose times may begin anew."""
_BACK = Fraction(1, 2)
"""Seconds by which times go back where a recording begins, and by no disorder."""


@dataclass
class _Place:
    """Where a stream is."""

    recording: int
    last: Fraction | None = None
    """When its last packet was decoded, in its own time."""
    before: Fraction | None = None
    """The same of the packet before that."""
    corrupt: tuple[bool, bool] = (False, False)
    """Whether FFmpeg takes the last two packets for damaged: it sees late that counters jump."""

    def resumes(self, own: Fraction) -> bool:
        """Whether a packet at ``own`` follows the last but one: the last one's time was wrong."""
        return self.before is not None and self.before <= own < self.before + _BACK


class JoinedTimes:
    """Moves the times of each further recording behind the one before it."""

    def __init__(self, container: Any) -> None:
        """``container`` is PyAV's; only in formats that know such recordings are times moved."""
        self._is_joinable = container.format.name.split(",")[0] in _JOINABLE
        self.strays = StrayTimes()
        """Packets whose times are none of a recording."""
        self._places: dict[int, _Place] = {}
        # Clocks of 33 bits that begin anew in between have FFmpeg begin below zero.
        self._shifts = [Fraction(max(-(container.start_time or 0), 0), 10**6)]
        """Of each recording, in seconds."""
        self._end = Fraction(0)
        """When what has come ends, in seconds."""
        self._newest = 0
        """How many packets the newest recording has."""
        self.joints: list[float] = []
        """Where recordings begin, but for the first, in seconds."""
        self.excused = 0
        """Pictures at joints that FFmpeg takes for damaged: counters of packets jump there."""

    def moved(self, packets: "Iterable[Packet[Any]]") -> "Iterator[Packet[Any]]":
        """The packets at the times that they have in the whole."""
        for packet in self.strays.put_back(packets) if self._is_joinable else packets:
            when = packet.pts if packet.dts is None else packet.dts
            if self._is_joinable and when is not None:
                base = packet.time_base
                recording = self._recording(packet, when * base)
                self._newest += recording == len(self._shifts) - 1
                shift = round(self._shifts[recording] / base)
                packet.pts = None if packet.pts is None else packet.pts + shift
                packet.dts = None if packet.dts is None else packet.dts + shift
                shown = when + shift if packet.pts is None else packet.pts
                self._end = max(self._end, (shown + (packet.duration or 0)) * base)
            yield packet

    def _recording(self, packet: "Packet[Any]", own: Fraction) -> int:
        """Which one a packet belongs to that is decoded at ``own`` in its own time."""
        newest = len(self._shifts) - 1
        place = self._places.setdefault(packet.stream.index, _Place(newest))
        last = own if place.last is None else place.last
        before = place.recording
        if place.recording < newest or packet.stream.type not in ("video", "audio"):
            place.recording = self._nearest(own)
        elif own < last - _BACK and not place.resumes(own):
            self._begin(packet, own, last - own)
            place.recording = newest + 1
        elif newest and self._newest == 1 and place.resumes(own):
            self._take_back()
            place.recording = newest - 1
        if place.recording > before and packet.stream.type == "video":
            self.excused += any(place.corrupt) or packet.is_corrupt
        place.corrupt = place.corrupt[1], packet.is_corrupt
        place.last, place.before = own, place.last
        return place.recording

    def _nearest(self, own: Fraction) -> int:
        """The newest recording or the one before: where a packet comes nearer to all that has."""
        newest = len(self._shifts) - 1
        return min(
            range(newest, max(newest - 2, -1), -1),
            key=lambda recording: abs(own + self._shifts[recording] - self._end),
        )

    def _begin(self, packet: "Packet[Any]", own: Fraction, back: Fraction) -> None:
        """A recording with this packet at ``own``, ``back`` before the last one of its stream."""
        base, shift = packet.time_base, self._shifts[-1]
        shown = own if packet.pts is None else packet.pts * base
        # Shown after all that has come, and decoded after what went before in its stream.
        self._shifts.append(max(self._end - shown, shift + back + base))
        self.joints.append(float(self._end))
        self._newest = 0

    def _take_back(self) -> None:
        """The newest recording was one packet, whose time was wrong."""
        self._shifts.pop()
        self.joints.pop()
