"""The packets of opened videos, of which streams may come up on the way."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av import Packet


def demuxed(container: Any, *streams: Any) -> "Iterator[Packet[Any]]":
    """The packets of some streams of PyAV's container, each of them flushed at the end.

    PyAV flushes all that FFmpeg has found by then, in their order: one that came up after the
    opening, as in .flv they do, is not in its list.
    """
    try:
        yield from container.demux(*streams)
    except IndexError:
        return
