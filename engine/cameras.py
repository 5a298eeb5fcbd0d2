"""Cameras (Video4Linux2): packets that are ours to keep, and what a driver made of our wishes.

A driver lends its buffers: pages that go away when the camera is closed, or breaks off. FFmpeg
hands them on as they are, and raw pictures are decoded without a copy; one that outlives its camera
makes FFmpeg read and write memory that is no longer its own. So packets are copied as they come,
and what was lent is given back at once.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from cyclegan.engine.endpoints import Input

if TYPE_CHECKING:
    from av import Packet

_NONBLOCKING = "+4"
"""FFmpeg's AVFMT_FLAG_NONBLOCK, which has no name among the flags of a format."""
_POLL_SECONDS = 0.002
_NEAR = 0.01
"""Rates that differ by less than this share are the same: 29.97 and 30."""


def camera_options(source: Input) -> dict[str, str]:
    """What FFmpeg is told when it opens the camera.

    It does not wait for pictures: nothing ends that wait, neither a time limit nor an interrupt,
    while a camera says nothing.
    """
    return {**source.options, "fflags": source.options.get("fflags", "") + _NONBLOCKING}


def camera_packets(
    container: Any, video: Any, silence_seconds: float, stop: threading.Event
) -> "Iterator[Packet[Any]]":
    """The camera's packets, copied, until ``stop`` is set. Raises TimeoutError in a silence."""
    while (packet := _next(container, video, silence_seconds, stop)) is not None:
        yield packet


def _next(
    container: Any, video: Any, silence_seconds: float, stop: threading.Event
) -> "Packet[Any] | None":
    """The next packet that is whole; None when ``stop`` is set."""
    until = time.monotonic() + silence_seconds
    while not stop.is_set():
        is_over = time.monotonic() > until  # asked before the camera is, once more
        try:
            # A new iterator for each: an old one would hold on to the packet that it gave.
            packet = next(container.demux(video))
            if packet.size:
                return _copy(packet)
            del packet  # a picture that the driver says is damaged
        except BlockingIOError:
            stop.wait(_POLL_SECONDS)
        if is_over:
            raise TimeoutError(f"it gave no picture for {silence_seconds:g} seconds")
    return None


def _copy(lent: "Packet[Any]") -> "Packet[Any]":
    from av import Packet

    own: Packet[Any] = Packet(bytes(lent))
    own.stream, own.time_base = lent.stream, lent.time_base
    own.pts, own.dts, own.duration = lent.pts, lent.dts, lent.duration
    own.is_keyframe = lent.is_keyframe
    return own


def close_camera(container: Any) -> None:
    """Close it, but first take out what was read ahead, to learn what there is.

    FFmpeg would do that later, with what the camera's closing has freed.
    """
    from av import FFmpegError

    with contextlib.suppress(FFmpegError):
        while next(container.demux(video=0)).pts is not None:
            continue
    container.close()


def not_as_asked(source: Input, video: Any) -> str | None:
    """What the driver chose in place of what it was asked for, without a word; None: nothing."""
    options, context = source.options, video.codec_context
    size, rate = options.get("video_size", ""), _number(options.get("framerate"))
    form = options.get("input_format", options.get("pixel_format"))
    given = f"{video.width}x{video.height}"
    names = (context.name, context.codec.canonical_name, context.pix_fmt)
    if size.replace("x", "", 1).isdecimal() and size != given:
        problem = f"has no frames of {size}; the nearest are {given}"
    elif rate and video.average_rate and abs(video.average_rate / rate - 1) > _NEAR:
        problem = f"does not give {float(rate):g} frames/s, but {float(video.average_rate):g}"
    elif form and form not in names:
        problem = f"has no pictures in {form}, but in {context.pix_fmt}"
    else:
        return None
    return f"{problem}; {how_to_list(source)}"


def how_to_list(source: Input) -> str:
    """Where a user sees what the camera has."""
    return f"v4l2-ctl -d {source.name} --list-formats-ext lists what it has"


def _number(rate: str | None) -> Fraction | None:
    """A rate in digits; None for FFmpeg's names of rates, such as ntsc."""
    try:
        return Fraction(rate or "0")
    except (ValueError, ZeroDivisionError):
        return None
