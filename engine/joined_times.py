"""Times of recordings that were joined end to end, each with times of its own: made to go on.

Streams that are broadcast may begin anew at any time, and programs that join files leave it so.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av import Packet

_JOINABLE = ("mpegts", "mpeg", "hls")
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
    """The same of its last packet in the recording before."""
    reached: Fraction | None = None
    """When its last packet is decoded in the whole."""


class JoinedTimes:
    """Moves the times of each further recording behind the one before it."""

    def __init__(self, container: Any) -> None:
        """``container`` is PyAV's; only in formats that know such recordings are times moved."""
        self._is_joinable = container.format.name.split(",")[0] in _JOINABLE
        self._places: dict[int, _Place] = {}
        self._shifts = [Fraction(0)]
        """Of each recording, in seconds."""
        self._end = Fraction(0)
        """When what has come ends, in seconds."""
        self.joints: list[float] = []
        """Where recordings begin, but for the first, in seconds."""

    def moved(self, packets: "Iterable[Packet[Any]]") -> "Iterator[Packet[Any]]":
        """The packets at the times that they have in the whole.

        Sound that a recording has before its first picture, and that would lie upon the last of the
        recording before, is left out.
        """
        for packet in packets:
            when = packet.pts if packet.dts is None else packet.dts
            if not self._is_joinable or when is None:
                yield packet
                continue
            place = self._places.setdefault(packet.stream.index, _Place(len(self._shifts) - 1))
            base = packet.time_base
            self._find_recording(packet, place, when * base)
            shift = round(self._shifts[place.recording] / base)
            now = (when + shift) * base
            overlaps = place.recording and place.reached is not None and now <= place.reached
            if overlaps and packet.stream.type == "audio":
                continue
            place.reached = now
            packet.pts = None if packet.pts is None else packet.pts + shift
            packet.dts = None if packet.dts is None else packet.dts + shift
            shown = now if packet.pts is None else max(now, packet.pts * base)
            self._end = max(self._end, shown + (packet.duration or 0) * base)
            yield packet

    def _find_recording(self, packet: "Packet[Any]", place: _Place, own: Fraction) -> None:
        """Where a packet belongs that is decoded at ``own`` in its own time."""
        newest = len(self._shifts) - 1
        last, before = place.last, place.before
        place.last = own
        if packet.stream.type not in ("video", "audio"):  # too rare to tell by themselves
            place.recording = newest
        elif last is not None and own < last - _BACK:
            if place.recording == newest:
                newest += 1
                shown = own if packet.pts is None else packet.pts * packet.time_base
                reached = self._end if place.reached is None else place.reached
                # Shown after all else, and decoded after what went before in its stream.
                self._shifts.append(max(self._end - shown, reached + packet.time_base - own))
                self.joints.append(float(self._end))
            place.recording, place.before = newest, last
        elif (
            last is not None
            and before is not None
            and last + _BACK < own  # and so the time of one packet alone was wrong
            and before <= own < before + _BACK
        ):
            place.recording, place.before = place.recording - 1, None
