"""Where the pictures of a domain come from: a folder, a list, or the frames of a video.

C channels, H height, W width. Pictures are uint8 or, with a depth of 16 bits, uint16 (H, W, C).

Picture files and videos have 1 or 3 channels, and frames of videos 8 bits. NumPy's ``.npy`` files
hold any number of channels, (H, W) or (H, W, C), as uint8, uint16, or floating numbers in [0, 1].

Frames are drawn from a video where they are needed, without unpacking it: its index of times is
read once, and a frame is decoded from the key frame before it. Videos with key frames far apart
are slow to draw from; re-encode them with one every second or so. Frames are turned and mirrored as
players show them.
"""

import codecs
import contextlib
import functools
import hashlib
import itertools
import logging
import math
import os
import re
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from cyclegan.colour import colour_of, rgb_from_picture
from cyclegan.config import Depth
from cyclegan.deep_pictures import (
    PEAKS,
    TYPES,
    flat,
    in_depth,
    is_deep,
    read_deep,
)
from cyclegan.demuxing import demuxed, open_container
from cyclegan.errors import DataError, DepthError, ImageError, VideoError, reason_of
from cyclegan.files import ANY_TEXT, name_for_ffmpeg
from cyclegan.pictures import (
    SUFFIXES,
    Channels,
    Picture,
    list_pictures,
    may_be_picture,
    picture_from_image,
    read_picture,
)
from cyclegan.side_data import display_matrix
from cyclegan.sizes import MOST_PIXELS

LIST_SUFFIX = ".txt"
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
ARRAY_SUFFIX = ".npy"
Pixels = npt.NDArray[Any]
_TOLD: set[str] = set()
"""Forms of deep pictures of which this process has said that it takes 8 bits."""
log = logging.getLogger(__name__)
_LIMITS = {"max_pixels": str(MOST_PIXELS)}
"""For FFmpeg's decoders."""
_NO_ARRAY = (
    OSError,
    ValueError,
    EOFError,
    MemoryError,  # a damaged head may claim any size
    OverflowError,
    TypeError,
    tokenize.TokenError,  # NumPy reads heads of Python 2, too
)
"""What NumPy is seen to raise for damaged files."""
_PLACES = 16
_LOOKED_AT = _PLACES * 256
"""In as many places, and so many frames in all, a video is searched for one that refers to a later
one: encoders may do without for a while, but hardly from one key frame to the next."""
_CONTAIN_ANEW = (
    "put it into another container: ffmpeg -i IN -c copy OUT.mkv, or, if that refuses, without "
    "-c copy"
)
EARLIER = (0.0, 1.0, 5.0, 30.0, math.inf)
"""Seconds before a frame to look for it from, one after the other: where a container has no index,
seeking may land behind what was asked for."""
_BEFORE_ALL = -(10**12)
"""Microseconds. Where an edit list has the times of an .mp4's index step back, seeking to its first
frame may land far behind it; before all of them there is but one place."""


@dataclass(frozen=True)
class Frame:
    """One frame of a video."""

    video: Path
    time: int
    """Presentation time in the units of the video's stream."""

    def __str__(self) -> str:
        return f"{self.video} at {self.time}"


Item = Path | Frame


def list_items(source: Path, *, skip_bad: bool = False) -> list[Item]:
    """The pictures of ``source``, in a stable order.

    A folder is searched recursively, for pictures and arrays; a ``.txt`` file names one on every
    line, relative to its own folder; any other file is a video. Raises DataError for a source
    without pictures, and for a list of which one is missing: with ``skip_bad`` only where all are,
    since who reads it says so, and a run that goes on finds as many as before.
    """
    if not _is_file(source):
        return list(list_pictures(source, SUFFIXES | {ARRAY_SUFFIX}))
    if source.suffix.lower() == LIST_SUFFIX:
        return list(_listed(source, skip_bad))
    return list(_frames(source))


def fingerprint(*domains: tuple[Path, Sequence[Item]]) -> str:
    """What tells sources with their pictures from others, wherever they lie: how many, and a digest
    of the pictures' names within the sources."""
    names = "\n\n".join("\n".join(_within(source, items)) for source, items in domains)
    # Names on a disk may be any bytes.
    digest = hashlib.sha256(names.encode("utf-8", ANY_TEXT)).hexdigest()[:12]
    return f"{' and '.join(str(len(items)) for _, items in domains)} pictures, {digest}"


def _within(source: Path, items: Sequence[Item]) -> list[str]:
    folder = source if source.is_dir() else source.parent
    return [str(item).removeprefix(f"{folder}{os.sep}") for item in items]


def names_to_pair(source: Path, items: Sequence[Item]) -> list[str]:
    """By which pictures of two sources are found to be pairs; the suffix may differ.

    The path within a folder; what a list names may lie anywhere, and has its file's name.
    """
    if source.is_dir():
        return [str(cast(Path, item).relative_to(source).with_suffix("")) for item in items]
    return [item.stem if isinstance(item, Path) else str(item) for item in items]


def read_item(item: Item, channels: int = 3, depth: Depth = 8) -> Pixels:
    """The picture, (H, W, channels) of ``depth`` bits. Raises ImageError, naming it."""
    if isinstance(item, Path) and item.suffix.lower() == ARRAY_SUFFIX:
        return _array(item, channels, depth)
    if channels not in (1, 3):
        raise ImageError(
            f"{item} is read in 1 or 3 channels; the generator takes {channels}, which "
            f"{ARRAY_SUFFIX} arrays can have"
        )
    if isinstance(item, Frame):
        return in_depth(_decoded(item, cast(Channels, channels)), depth)
    if depth == 8:
        return read_picture(item, cast(Channels, channels))
    return _deep(item, cast(Channels, channels))


def _array(path: Path, channels: int, depth: Depth) -> Pixels:
    try:
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except _NO_ARRAY as error:
        raise ImageError(f"cannot read {path} as an array: {error}") from error
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] != channels or not array.size:
        raise ImageError(
            f"{path} has shape {array.shape}; expected (height, width, {channels}), as many "
            "channels as the generator takes"
        )
    if array.dtype.type in PEAKS:
        return in_depth(array, depth)
    if array.dtype.kind != "f" or not (array.min() >= 0 and array.max() <= 1):
        raise ImageError(f"{path} holds {array.dtype}; expected uint8, uint16 or floats in [0, 1]")
    scaled = array.astype(np.float64) * PEAKS[TYPES[depth]]
    rounded: Pixels = np.rint(scaled).astype(TYPES[depth])
    return rounded


def _deep(path: Path, channels: Channels) -> Pixels:
    """A picture file as uint16: all of its bits, or 8 stretched where it has or gives no more."""
    if is_deep(path):
        try:
            return flat(read_deep(path), channels)
        except DepthError as error:
            if (form := str(error.__cause__)) not in _TOLD:
                _TOLD.add(form)
                log.warning("%s; for now 8 are taken, of this one and others like it", error)
    return in_depth(read_picture(path, channels), 16)


def _is_file(path: Path) -> bool:
    """As ``Path.is_file``, but False too for names that the system refuses, such as long ones."""
    try:
        return path.is_file()
    except OSError:
        return False


def _listed(source: Path, skip_bad: bool) -> list[Path]:
    try:
        content = source.read_bytes()
        # Windows' shell writes such lists in UTF-16.
        text = content.decode("utf-16" if content.startswith(_UTF_16) else "utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read the list {source}: {reason_of(error)}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"the list {source} is not in UTF-8 ({error}); save it as that") from error
    lines = re.split(r"\r\n?|\n", text)  # names may hold what str.splitlines takes for ends
    names = (line for line in lines if line.strip() and not line.strip().startswith("#"))
    paths = [_named(source.parent, name) for name in names]
    missing = [path for path in paths if not _is_file(path)]
    if skip_bad and len(missing) < len(paths):
        missing = [path for path in missing if not may_be_picture(path)]
    if missing or not paths:
        got = f"names {missing[0]}, which is no file" if missing else "names no picture"
        raise DataError(f"{source} {got}; expected the path of a picture on every line")
    return paths


def _named(folder: Path, line: str) -> Path:
    """What a line of a list names: blanks around a name may be its own."""
    path = folder / line
    return path if _is_file(path) else folder / line.strip()


def _frames(video: Path) -> list[Frame]:
    import av

    try:
        with _container(video) as container:
            stream = container.streams.video[0]
            codec = stream.codec_context
            if codec is None:
                raise DataError(
                    f"{video} holds video that this FFmpeg has no decoder for; encode it anew, as "
                    "H.264, with a program that plays it"
                )
            if codec.width * codec.height > MOST_PIXELS:
                raise DataError(
                    f"{video} says that its frames are {codec.width}x{codec.height}; expected at "
                    f"most {MOST_PIXELS:,} pixels; make them smaller"
                )
            # Of a video that was cut without encoding it again, those before the cut are not shown.
            shown = (p for p in demuxed(container, stream) if p.size and not p.is_discard)
            packets = [(packet.pts, packet.is_keyframe) for packet in shown]
            reorders = codec.has_b_frames
    except (av.FFmpegError, IndexError) as error:
        reason = "it has no pictures" if isinstance(error, IndexError) else reason_of(error)
        raise DataError(
            f"{video} is no folder, no list ({LIST_SUFFIX}) and no video that can be read: {reason}"
        ) from error
    return [Frame(video, time) for time in _times_of(video, packets, reorders)]


def _times_of(video: Path, packets: Sequence[tuple[int | None, bool]], reorders: bool) -> list[int]:
    """The times of the frames, from those of the packets, and which of them are key frames.

    ``reorders``: the decoder may give frames in another order. Raises DataError where frames cannot
    be found by their times.
    """
    timed = [(time, is_key) for time, is_key in packets if time is not None]
    if _step_back(timed):
        raise DataError(
            f"the times of {video} step back, as where recordings were joined; frames are found by "
            f"their times; {_CONTAIN_ANEW}"
        )
    to_show = [time for time, _ in timed]
    keys = [time for time, is_key in timed if is_key]
    if reorders and to_show == sorted(to_show) and not _rise(video, keys):
        raise DataError(
            f"the times of {video} are those of decoding its frames, not of showing them, as .avi "
            "and .asf have them of H.264 with B-frames, and copies of such; frames are found by "
            "their times; encode it anew: ffmpeg -i IN OUT.mkv"
        )
    times = sorted(set(to_show))
    if 2 * len(times) < len(packets):
        raise DataError(
            f"{video} tells the times of {len(times)} of its {len(packets)} frames, by which they "
            f"are found; {_CONTAIN_ANEW}"
        )
    if not times:
        raise DataError(f"{video} has no frames")
    return times


def _step_back(packets: list[tuple[int, bool]]) -> bool:
    """Whether a key frame is shown before a frame that came earlier, as in no single recording.

    Times of decoding would not tell: FFmpeg guesses those of Matroska, and in .mp4 they step back
    between the parts of an edit list.
    """
    latest = itertools.accumulate((time for time, _ in packets), max)
    return any(is_key and time < last for (time, is_key), last in zip(packets, latest, strict=True))


def _rise(video: Path, keys: list[int]) -> bool:
    """Whether frames come with rising times as they are decoded, from some of the key frames on.

    Where a container has no times to show them at, FFmpeg makes them up in the order of packets.
    """
    import av

    places = keys[:: 1 + len(keys) // _PLACES]
    reached = -math.inf
    # What is damaged is told where it is drawn.
    with contextlib.suppress(av.FFmpegError), _container(video) as container:
        stream = container.streams.video[0]
        for place in places:
            if place <= reached:
                continue
            container.seek(place, stream=stream)
            frames = (frame for packet in demuxed(container, stream) for frame in packet.decode())
            looked_at = itertools.islice(frames, _LOOKED_AT // len(places))
            times = [frame.pts for frame in looked_at if frame.pts is not None]
            if times != sorted(times):
                return False
            reached = max(times, default=reached)
    return True


@functools.lru_cache(maxsize=4)
def _opened(video: Path, process: int) -> Any:
    """The video, opened by this ``process``: one that a fork inherits shares its file position."""
    container = _container(video)
    context = container.streams.video[0].codec_context
    # Processes read side by side; and where one is forked, it could not end a decoder's threads.
    context.thread_count = 1
    context.options = _LIMITS
    return container


def _container(video: Path) -> Any:
    return open_container(name_for_ffmpeg(str(video)), options=_LIMITS)


def _decoded(frame: Frame, channels: Channels) -> Picture:
    import av
    from av.video.reformatter import VideoReformatter

    try:
        container = _opened(frame.video, os.getpid())
        stream = container.streams.video[0]
        for seconds in EARLIER:
            if found := _found(container, stream, frame.time, seconds):
                rgb = rgb_from_picture(found, colour_of(found), converter=VideoReformatter())
                image = _upright(Image.fromarray(rgb), display_matrix(found))
                return picture_from_image(image, channels)
    except (av.FFmpegError, OSError) as error:
        raise ImageError(f"cannot decode {frame}: {reason_of(error)}") from error
    except VideoError as error:
        raise ImageError(f"cannot take {frame}: {error}") from error
    raise ImageError(f"cannot decode {frame}: the video ends before")


def _upright(image: Image.Image, matrix: tuple[int, ...] | None) -> Image.Image:
    """``image`` as a display matrix mirrors and then turns it."""
    if matrix is None:
        return image
    a, b, _, c, d = matrix[:5]
    if a * d < b * c:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        a, b = -a, -b
    return image.rotate(round(math.degrees(math.atan2(-b, a))), expand=True)


def _found(container: Any, stream: Any, time: int, earlier: float) -> Any:
    """The frame of that time, decoded from so many seconds before it on; None if it is not met."""
    if math.isinf(earlier):
        try:
            container.seek(_BEFORE_ALL)
        except PermissionError:  # .avi and .flv seek to none but times that they have
            container.seek(min(0, container.start_time or 0))
    else:
        begin = time - round(earlier / stream.time_base)
        container.seek(max(begin, stream.start_time or 0), stream=stream)
    came_before = math.isinf(earlier)
    for frame in container.decode(stream):
        if frame.pts is None:
            continue
        if frame.pts >= time:
            return frame if frame.pts == time or came_before else None
        came_before = True
    return None
