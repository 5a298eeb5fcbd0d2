"""Times of a few packets that lie far ahead of those around them: put back in between.

As where a byte of a broadcast was wrong. All that follows would come too late for them: pictures
would be shown within a moment, and sound be left out.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av import Packet

_LEAP = Fraction(1, 2)
"""Seconds by which times leap ahead that may be wrong. They are if they return; where they go on
for as long, they are right. More than one packet is wrong where they share a time, as sound does.
"""


class StrayTimes:
    """Holds packets of video and audio back whose times leap ahead, until others tell of them."""

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}

    @property
    def count(self) -> int:
        """How many packets were put back."""
        return sum(track.count for track in self._tracks.values())

    def put_back(self, packets: "Iterable[Packet[Any]]") -> "Iterator[Packet[Any]]":
        """The packets, those of each stream in their order."""
        for packet in packets:
            if packet.stream.type in ("video", "audio"):
                track = self._tracks.setdefault(packet.stream.index, _Track())
                yield from track.take(packet)
            else:
                yield packet
        for track in self._tracks.values():
            yield from track.let_go()


class _Track:
    """One stream."""

    def __init__(self) -> None:
        self.count = 0
        self._last: Fraction | None = None
        """When the last packet that was not held back is decoded."""
        self._held: list[tuple[Fraction, Packet[Any]]] = []
        """With when they say that they are decoded."""

    def take(self, packet: "Packet[Any]") -> "list[Packet[Any]]":
        """The packets that need not be held back any more."""
        ticks = packet.pts if packet.dts is None else packet.dts
        if ticks is None:
            return [*self.let_go(), packet]
        when = ticks * packet.time_base
        if self._held and 0 <= when - self._held[0][0] < _LEAP:
            self._held.append((when, packet))
            return []
        if self._is_back(when):
            self._put_back(when)
        free = self.let_go()
        if self._last is not None and when > self._last + _LEAP:
            self._held.append((when, packet))
            return free
        self._last = when
        return [*free, packet]

    def let_go(self) -> "list[Packet[Any]]":
        """What is held back, as it is."""
        if self._held:
            self._last = self._held[-1][0]
        free = [packet for _, packet in self._held]
        self._held.clear()
        return free

    def _is_back(self, when: Fraction) -> bool:
        """Whether a packet at ``when`` follows what was before those that are held back."""
        if self._last is None or not self._held:
            return False
        return self._last <= when < self._held[0][0] and when <= self._last + 2 * _LEAP

    def _put_back(self, when: Fraction) -> None:
        """Have what is held back come evenly before ``when``."""
        assert self._last is not None
        step = (when - self._last) / (len(self._held) + 1)
        for number, (own, packet) in enumerate(self._held, 1):
            shift = round((self._last + number * step - own) / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts + shift
            packet.dts = None if packet.dts is None else packet.dts + shift
        self.count += len(self._held)
