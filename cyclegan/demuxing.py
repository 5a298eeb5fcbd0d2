"""Opening videos by PyAV, and the packets of opened ones, of which streams may come up later."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cyclegan.files import ANY_TEXT

if TYPE_CHECKING:
    from av import Packet


def open_container(*what: Any, **how: Any) -> Any:
    """``av.open``, with titles kept byte for byte, be they UTF-8 or not."""
    import av

    if int(av.__version__.partition(".")[0]) < 19:  # since then it does so unasked
        how["metadata_errors"] = ANY_TEXT
    return av.open(*what, **how)


def demuxed(container: Any, *streams: Any) -> "Iterator[Packet[Any]]":
    """The packets of some streams of PyAV's container, each of them flushed at the end.

    PyAV flushes all that FFmpeg has found by then, in their order: one that came up after the
    opening, as in .flv they do, is not in its list.
    """
    try:
        yield from container.demux(*streams)
    except IndexError:
        return
