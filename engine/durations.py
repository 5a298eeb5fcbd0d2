"""How long the frames of a result are shown: told with their packets, and to the end of a track.

Players show a frame until the next one comes, so that only the last one's duration matters, and
animations often have a pause there. Encoders do not keep it, or take that of an even rate.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av import Packet

_UNTIL_DECODED = ("mov", "mp4", "ipod")
"""Containers where a frame's duration is the time until the next one is decoded."""


class Durations:
    """Those of one result's frames, in units of its times."""

    def __init__(self) -> None:
        self._stated: dict[int, int] = {}

    def expect(self, pts: int, duration: int) -> None:
        """The frame that is encoded to be shown at ``pts`` lasts so long; 0: as encoders say."""
        if duration > 0:
            self._stated[pts] = duration

    def told(self, packets: "Iterable[Packet[Any]]") -> "list[Packet[Any]]":
        """``packets`` of an encoder, each with the duration of its frame."""
        packets = list(packets)
        for packet in packets:
            if packet.pts is not None and (duration := self._stated.pop(packet.pts, None)):
                packet.duration = duration
        return packets


class TrackEnd:
    """Has the last packet of a track last until the last frame has been shown.

    Where frames are decoded in another order than they are shown in, that is another frame's, and
    the track would end too early.
    """

    def __init__(self, form: str) -> None:
        """``form`` is FFmpeg's name of the container."""
        self._is_wanted = form in _UNTIL_DECODED
        self._last: list[Packet[Any]] = []
        self._lead: int | None = None
        """From the time when the first packet is decoded to that when it is shown."""
        self._end = 0

    def ready(self, packets: "list[Packet[Any]]") -> "list[Packet[Any]]":
        """Of a track's packets, given in the order of decoding, those that can be written now."""
        if not self._is_wanted:
            return packets
        for packet in packets:
            if packet.pts is None or packet.dts is None:
                continue
            if self._lead is None:
                self._lead = packet.pts - packet.dts
            self._end = max(self._end, packet.pts + (packet.duration or 0))
        known = self._last + packets
        self._last = known[-1:]
        return known[:-1]

    def rest(self) -> "list[Packet[Any]]":
        """The last packet, which no other follows."""
        for packet in self._last:
            packet.duration = self._end - (self._lead or 0) - (packet.dts or 0)
        return self._last
