"""What can be translated and where results can go: files, sequences, pipes, cameras, addresses.

====================  =======================  ==================================================
name                  as a source              as a target
====================  =======================  ==================================================
``-``                 standard input           standard output
``pictures/%05d.png`` numbered pictures        numbered pictures, each written whole or not at all
``pictures/*.png``    pictures, by name
``/dev/video0``       a camera (Video4Linux2)
``/dev/v4l/by-id/*``  the same, by name; also links to it
``rtsp://``, ...      a stream or a download   a stream
``/dev/null``                                  nothing is kept
a named pipe          what comes through it    what reads it gets all as it comes
anything else         a file                   a file, which appears when it is whole
``file://`` and path  what the path means      the same
====================  =======================  ==================================================
"""

import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from cyclegan.engine import globs
from cyclegan.engine.muxers import CONTAINERS, SUFFIXES
from cyclegan.engine.source_options import check_names
from cyclegan.errors import ConfigError, OutputError, VideoError
from cyclegan.sizes import MOST_PIXELS

AnyPath = str | os.PathLike[str]

_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
_NUMBERED = re.compile(r"(%0?\d*d)")
_CONNECTION = re.compile(r"tcp://[^/?]+:\d+/?", re.IGNORECASE)
"""Without options of FFmpeg's."""
_CAMERA = re.compile(r"/dev/(video\d+|v4l/by-(id|path)/.+)")
_CAMERAS = ("video4linux2", "v4l2")
"""Names of FFmpeg's demuxer for them."""
STANDARD_OUTPUT = ("-", "/dev/stdout")
"""Names of it."""
_ROUNDED_UP = 1 << 22
"""Pixels by which sides that become multiples of 64 can enlarge a frame of sides up to 32768."""
DOWNLOADS = ("http", "https")
"""What ends by itself: FFmpeg asks for the rest when the connection is lost."""


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How often, and how fast, a source that went away is asked again."""

    attempts: int = 6
    """In a row, without a frame in between."""
    first_seconds: float = 0.5
    """Before the first attempt; every further one waits twice as long."""
    longest_seconds: float = 8.0
    silence_seconds: float = 10.0
    """That a camera or an address may say nothing, before it counts as gone."""

    def pause(self, attempt: int) -> float:
        """Seconds to wait before attempt 0, 1, ..."""
        doublings = min(attempt, 60)  # more end in no number of seconds that a float holds
        return float(min(self.first_seconds * 2**doublings, self.longest_seconds))


@dataclass(frozen=True, kw_only=True)
class Input:
    """A source, as FFmpeg is asked for it."""

    name: str
    """What messages call it."""
    url: str
    format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    endless: bool = False
    """A camera or stream: it goes on while we do, and is opened again when it breaks off."""
    is_camera: bool = False
    """Of Video4Linux2."""
    timeout: float | None = None
    """Seconds of silence that are an error."""
    gap: str | None = None
    """Which of numbered pictures are missing, so that reading ends before them."""
    pictures: Sequence[Path] = ()
    """Those that a pattern stands for."""

    @property
    def is_address(self) -> bool:
        """Of a protocol, which may have options of its own."""
        return _ADDRESS.match(self.url) is not None

    @property
    def is_download(self) -> bool:
        """It ends by itself, over the network."""
        return self.url.partition("://")[0].lower() in DOWNLOADS

    @property
    def most_pixels(self) -> int:
        """That a frame may have; FFmpeg's option ``max_pixels`` sets it. Raises ConfigError."""
        given = self.options.get("max_pixels", str(MOST_PIXELS))
        if not given.isdecimal():
            raise ConfigError(f"got max_pixels={given}; expected a number of pixels")
        return int(given)

    @property
    def most_decoded(self) -> int:
        """What decoders are told of that limit, since they count what they round sides up to."""
        return self.most_pixels + _ROUNDED_UP

    @property
    def is_pipe(self) -> bool:
        """Standard input, or a pipe that has a name."""
        return self.url == "pipe:0" or (not self.is_camera and _is_stream(self.url))

    @property
    def path(self) -> Path | None:
        """Of a file or folder, which can be read again; None for all else."""
        if self.is_address or self.is_pipe or self.is_camera:
            return None
        path = Path(self.url)
        return path if self.format is None or path.is_file() else None


@dataclass(frozen=True, kw_only=True)
class Output:
    """A target, as FFmpeg is asked for it."""

    name: str
    """What messages call it."""
    url: str
    format: str | None = None
    """FFmpeg's muxer; None: by the suffix."""
    options: Mapping[str, str] = field(default_factory=dict)
    is_file: bool = False
    """Written under a temporary name first."""
    pictures: Sequence[Path] = ()
    """Those that are there already under names that are to be numbered."""

    @property
    def is_connection(self) -> bool:
        """Over TCP, without further words about it, where a socket is a file."""
        return os.name == "posix" and _CONNECTION.fullmatch(self.url) is not None

    @property
    def is_stream(self) -> bool:
        """Whether bytes go through it but once, and it may be left unread."""
        return self.url == "pipe:1" or self.is_connection or _is_stream(self.url)


def input_from(
    source: AnyPath,
    *,
    form: str | None = None,
    options: Mapping[str, str] | None = None,
    retry: Retry | None = None,
) -> Input:
    """How to open ``source``; ``form`` and ``options`` are FFmpeg's demuxer and its options.

    Raw pictures on standard input need ``form="raw"`` and the options ``video_size``,
    ``pixel_format`` and ``framerate``. Raises VideoError where they are missing, ConfigError for an
    option that raw pictures, y4m or a camera do not have.
    """
    name = local_name(os.fspath(source))
    given = {option: str(value) for option, value in (options or {}).items()}
    form = CONTAINERS.get(form, form) if form else None
    retry = retry or Retry()
    is_address, is_camera = bool(_ADDRESS.match(name)), _is_camera(name, form)
    if is_camera:
        form = form or "video4linux2"
    if not is_address:  # whose protocols have options of their own
        check_names(form, given)
    if form == "rawvideo" and (missing := {"video_size", "pixel_format"} - given.keys()):
        raise VideoError(
            f"raw pictures do not say what they are: give {' and '.join(sorted(missing))}, such as "
            "video_size=640x360, pixel_format=rgb24, framerate=25"
        )
    if name == "-":
        return Input(name="standard input", url="pipe:0", format=form, options=given)
    if is_camera:
        return Input(
            name=name,
            url=name,
            format=form,
            options=given,
            endless=True,
            is_camera=True,
            timeout=retry.silence_seconds,
        )
    if is_address:
        return _address(name, form, given, retry)
    path = Path(name)
    if _NUMBERED.search(path.name) and not path.exists():
        pictures = _pictures(path)
        given = {"start_number": str(min(pictures, default=0))} | given
        return Input(
            name=name,
            url=_numbered(path),
            format=form or "image2",
            options=given,
            gap=_gap(sorted(pictures), given["start_number"]),
            pictures=list(pictures.values()),
        )
    if "*" in name and not path.exists():
        url = globs.pattern_for_ffmpeg(path)
        return Input(
            name=name,
            url=url,
            format=form or "image2",
            options={"pattern_type": "glob"} | given,
            pictures=globs.found(url),
        )
    return Input(name=name, url=name, format=form, options=given)


def _is_camera(name: str, form: str | None) -> bool:
    """By how it is asked for, by its name, or by that of what its name leads to, as udev makes."""
    if form in _CAMERAS:
        return True
    try:
        return any(map(_CAMERA.fullmatch, (name, os.path.realpath(name))))
    except ValueError:  # no file has such a name
        return False


def local_name(name: str) -> str:
    """``name`` without ``file://``: what it means is asked of the path. That is, as FFmpeg has it,
    all behind the colon."""
    return str(Path(name.partition(":")[2])) if name.lower().startswith("file://") else name


def _numbered(pattern: Path) -> str:
    """``pattern`` for FFmpeg: of what it would take for numbers, one in the last part is one."""
    before, number, after = _NUMBERED.split(pattern.name, maxsplit=1)
    before, after = (
        text.replace("%", "%%") for text in (f"{pattern.absolute().parent}/{before}", after)
    )
    return before + number + after


def _pictures(pattern: Path) -> dict[int, Path]:
    """Those that are there, by their numbers, which have the width that FFmpeg gives them."""
    before, number, after = _NUMBERED.split(pattern.name, maxsplit=1)
    width = int(number[1:-1] or 0)
    names = re.compile(re.escape(before) + "([0-9]+)" + re.escape(after))
    paths = pattern.parent.iterdir() if pattern.parent.is_dir() else ()
    found = ((match[1], path) for path in paths if (match := names.fullmatch(path.name)))
    return {int(n): path for n, path in found if len(n) == max(width, len(str(int(n))))}


def _gap(numbers: list[int], start: str) -> str | None:
    """What is missing between ``numbers``, in words; None if nothing is. FFmpeg ends there."""
    wanted = [number for number in numbers if start.isdecimal() and number >= int(start)]
    for one, other in pairwise(wanted):
        if other > one + 1:
            return f"picture {one + 1} is missing, and those from {other} to {wanted[-1]} follow it"
    return None


def _address(name: str, form: str | None, given: dict[str, str], retry: Retry) -> Input:
    scheme = name.partition("://")[0].lower()
    if scheme in DOWNLOADS:
        again = {
            "reconnect": "1",
            "reconnect_on_network_error": "1",
            "reconnect_max_retries": str(retry.attempts),
            "reconnect_delay_max": str(int(retry.longest_seconds)),
        }
        return Input(
            name=name, url=name, format=form, options=again | given, timeout=retry.silence_seconds
        )
    if scheme == "rtsp":
        # UDP, the default, loses packets without a word.
        given = {"rtsp_transport": "tcp"} | given
    return Input(
        name=name,
        url=name,
        format=form,
        options=given,
        endless=True,
        timeout=retry.silence_seconds,
    )


def unspoken(url: str) -> str:
    """Why an address whose protocol FFmpeg does not know cannot be opened."""
    return f"the FFmpeg in PyAV was built without {url.partition(':')[0].lower()}"


def output_to(target: AnyPath, container: str = "auto") -> Output:
    """How to write ``target``. Raises OutputError where its container must be named and is not."""
    name = local_name(os.fspath(target))
    form = None if container == "auto" else CONTAINERS.get(container, container)
    if name in STANDARD_OUTPUT:
        _check_told(form, "standard output")
        return Output(name="standard output", url="pipe:1", format=form)
    if name == os.devnull:
        return Output(name=name, url=name, format="null")
    if _ADDRESS.match(name):
        scheme = name.partition("://")[0].lower()
        guessed = {"rtsp": "rtsp", "rtmp": "flv"}.get(scheme, "mpegts")
        return Output(name=name, url=name, format=form or guessed)
    if _NUMBERED.search(Path(name).name) and not _is_film(name, form):
        return Output(
            name=name,
            url=_numbered(Path(name)),
            format="image2",
            options={"atomic_writing": "1"},
            pictures=list(_pictures(Path(name)).values()),
        )
    if _is_stream(name):
        _check_told(form or Path(name).suffix, name)
        return Output(name=name, url=name, format=form)
    return Output(name=name, url=name, format=form, is_file=True)


def _is_film(name: str, form: str | None) -> bool:
    """Whether a target is one file even where ``%d`` stands in its name, as in 50%done.mp4."""
    return form != "image2" if form else Path(name).suffix.lower() in SUFFIXES


def _check_told(form: str | None, name: str) -> None:
    if not form:
        raise OutputError(
            f"{name} has no suffix that tells the container; name one: y4m, raw, mkv, ts or "
            "another that needs no way back"
        )


def _is_stream(name: str) -> bool:
    """Whether bytes go through it but once: a pipe, a device of characters."""
    try:
        mode = Path(name).stat().st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)
