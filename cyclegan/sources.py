"""Where the pictures of a domain come from: a folder, a list, or the frames of a video.

C channels, H height, W width. Pictures are uint8 (H, W, C).

Frames are drawn from a video where they are needed, without unpacking it: its index of times is
read once, and a frame is decoded from the key frame before it. Videos with key frames far apart
are slow to draw from; re-encode them with one every second or so.
"""

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclegan.errors import DataError, ImageError
from cyclegan.pictures import Channels, Picture, list_pictures, picture_from_image, read_picture

LIST_SUFFIX = ".txt"


@dataclass(frozen=True)
class Frame:
    """One frame of a video."""

    video: Path
    time: int
    """Presentation time in the units of the video's stream."""

    def __str__(self) -> str:
        return f"{self.video} at {self.time}"


Item = Path | Frame


def list_items(source: Path) -> list[Item]:
    """The pictures of ``source``, in a stable order.

    A folder is searched recursively; a ``.txt`` file names a picture on every line, relative to its
    own folder; any other file is a video. Raises DataError for a source without pictures.
    """
    if source.is_file():
        return list(_listed(source) if source.suffix.lower() == LIST_SUFFIX else _frames(source))
    return list(list_pictures(source))


def read_item(item: Item, channels: Channels = 3) -> Picture:
    """The picture as uint8 (H, W, channels). Raises ImageError, naming it."""
    return _decoded(item, channels) if isinstance(item, Frame) else read_picture(item, channels)


def _listed(source: Path) -> list[Path]:
    try:
        lines = [line.strip() for line in source.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the list {source}: {error}") from error
    paths = [source.parent / line for line in lines if line and not line.startswith("#")]
    missing = [path for path in paths if not path.is_file()]
    if missing or not paths:
        got = f"names {missing[0]}, which is no file" if missing else "names no picture"
        raise DataError(f"{source} {got}; expected the path of a picture on every line")
    return paths


def _frames(video: Path) -> list[Frame]:
    import av

    try:
        with av.open(str(video)) as container:
            stream = container.streams.video[0]
            packets = container.demux(stream)
            times = sorted({packet.pts for packet in packets if packet.pts is not None})
    except (av.FFmpegError, IndexError) as error:
        raise DataError(
            f"{video} is no folder, no list ({LIST_SUFFIX}) and no video that can be read: {error}"
        ) from error
    if not times:
        raise DataError(f"{video} has no frames")
    return [Frame(video, time) for time in times]


@functools.lru_cache(maxsize=4)
def _opened(video: Path, process: int) -> Any:
    """The video, open, in this process: what a fork inherits would share its place in the file."""
    import av

    return av.open(str(video))


def _decoded(frame: Frame, channels: Channels) -> Picture:
    import av

    try:
        container = _opened(frame.video, os.getpid())
        stream = container.streams.video[0]
        container.seek(frame.time, stream=stream)
        for decoded in container.decode(stream):
            if decoded.pts is not None and decoded.pts >= frame.time:
                return picture_from_image(decoded.to_image(), channels)
    except (av.FFmpegError, OSError) as error:
        raise ImageError(f"cannot decode {frame}: {error}") from error
    raise ImageError(f"cannot decode {frame}: the video ends before")
