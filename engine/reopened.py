"""A source that went away and was opened again: when its first picture came."""

import math
import time
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from cyclegan.engine.containers import VideoReader

if TYPE_CHECKING:
    from av import Packet

_AT_ONCE = 0.005
"""Seconds within which a packet is given that was there already."""
_MOST = 5_000_000
"""Bytes that FFmpeg looks at: more are there at once only of what does not come as it is shown."""


class Reopened(VideoReader):
    """FFmpeg looks at a stream for up to five seconds before it is open, and has waited for it to
    begin before that. What came meanwhile is given at once, and the first packet to be waited for
    is of now, so that its time tells when the others came.
    """

    def __init__(self, *source: Any, **how: Any) -> None:
        """Takes and raises what VideoReader does."""
        self._asked = time.perf_counter()
        super().__init__(*source, **how)
        self._zero = math.inf
        """When a picture of time 0 would have come; not known of streams without times."""

    def came_at(self, seconds: float) -> float:
        """When its first picture came, which is of that time, by ``time.perf_counter``."""
        return min(max(self._zero + seconds, self._asked), time.perf_counter())

    def _packets(self) -> "Iterator[Packet[Any]]":
        packets, head, size = super()._packets(), [], 0
        broken_off: Exception | None = None
        now = time.perf_counter()
        try:
            for packet in packets:
                head.append(packet)
                size += packet.size
                now, before = time.perf_counter(), now
                when = packet.pts if packet.dts is None else packet.dts
                if packet.stream is self.video and when is not None:
                    self._zero = min(self._zero, now - float(when * packet.time_base))
                if now - before > _AT_ONCE or size > _MOST:
                    break
        except Exception as error:  # once those before it were given
            broken_off = error
        yield from chain(head, packets)
        if broken_off:
            raise broken_off
