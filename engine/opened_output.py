"""What a video is written into, opened: PyAV's containers, and pipes that we write ourselves."""

import threading
from pathlib import Path
from typing import Any

from cyclegan.demuxing import open_container
from cyclegan.engine.endpoints import Output
from cyclegan.engine.muxers import SLOTTED
from cyclegan.engine.sinks import Sink
from cyclegan.errors import OutputError, reason_of
from cyclegan.files import name_for_ffmpeg

_NUMBERED_BY_CHANCE = ("matroska", "webm", "ogg", "ogv")
"""Containers whose files get numbers drawn by chance, unless the muxer is told to be exact."""


def sink_of(output: Output, stop: threading.Event) -> Sink:
    """What ``output`` is written through. Raises OutputError, StoppedEarlyError."""
    try:
        return Sink(output, stop)
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write {output.name}: {reason_of(error)}") from error


def open_output(output: Output, sink: Sink | None = None) -> Any:
    """PyAV's container for ``output``, which ``sink`` is written through where it is given; else
    nothing is opened yet. Raises OutputError where it cannot be written.
    """
    import av

    try:
        container = open_container(
            sink or (name_for_ffmpeg(output.url) if output.is_file else output.url),
            "w",
            format=output.format,
            options=_options(output),
        )
    except (av.FFmpegError, ValueError) as error:
        unknown = output.format is None and not isinstance(error, av.FFmpegError)
        remedy = "; end its name in .mp4 or .mkv, or name the container" if unknown else ""
        raise OutputError(f"cannot write {output.name}: {reason_of(error)}{remedy}") from error
    if output.is_file and container.format.no_file and container.format.name != "image2":
        name = container.format.name
        container.close()
        raise OutputError(
            f"cannot write {output.name}: {name} makes no single file that could appear whole; "
            "write an .mp4, and let ffmpeg make the rest of it (-c copy)"
        )
    if output.is_file and container.format.name == "image2":
        container.options["update"] = "1"  # its name holds no number, even if it looks like one
    if container.format.name in SLOTTED:
        # Else sound that begins a little before zero, as AAC does, moves pictures by a whole place.
        container.options["avoid_negative_ts"] = "disabled"
    if container.format.name in _NUMBERED_BY_CHANCE:
        container.options["fflags"] = "+bitexact"
    return container


def _options(output: Output) -> dict[str, str]:
    options = dict(output.options)
    if output.is_file and Path(output.url).suffix.lower() in (".mp4", ".mov", ".m4v"):
        options["movflags"] = "+faststart"
    if output.format == "yuv4mpegpipe" or output.url.lower().endswith(".y4m"):
        options["strict"] = "unofficial"  # more than 8 bits
    return options
