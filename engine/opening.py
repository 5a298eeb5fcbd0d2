"""Sources, opened: where their pictures are decoded, and which of them are refused."""

import contextlib
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclegan.demuxing import open_container
from cyclegan.engine import hardware
from cyclegan.engine.cameras import camera_options, close_camera, how_to_list, not_as_asked
from cyclegan.engine.endpoints import Input, unspoken
from cyclegan.engine.hardware import Decoder
from cyclegan.engine.pipes import AT_ONCE, Pipe
from cyclegan.engine.source_options import check_names
from cyclegan.errors import ConfigError, VideoError, reason_of
from cyclegan.files import name_for_ffmpeg

if TYPE_CHECKING:
    from av.codec.hwaccel import HWAccel

_log = logging.getLogger(__name__)
_RAW = (".yuv", ".rgb")
"""Suffixes that FFmpeg takes for raw pictures, of a size that it is not told."""


def open_video(
    source: Input, decoder: Decoder, keep_on: str | None = None, pipe: Pipe | None = None
) -> tuple[Any, Any]:
    """PyAV's container for ``source``, and the best of its video streams; ``pipe`` is what it is
    read through, where that is not left to FFmpeg.

    "auto" takes NVDEC where it opens, for codecs that it knows, and says in the log why not.
    ``keep_on`` is the CUDA device in whose memory NVDEC leaves pictures, such as "cuda:0"; None:
    they come to the host. Raises VideoError for what cannot be read, has no video that this FFmpeg
    decodes or too large a one, and where "nvdec" cannot be had; ConfigError for a limit on pixels
    that is no number, and for an option that what is found, raw pictures or y4m, does not have.
    """
    import av

    begun = time.monotonic()
    try:
        container = _container(source, decoder, keep_on, pipe)
    except ConfigError:
        raise
    except av.error.ProtocolNotFoundError as error:
        raise VideoError(f"cannot read {source.name}: {unspoken(source.url)}") from error
    except (av.FFmpegError, OSError, ValueError) as error:
        if pipe:
            pipe.check()
        if pipe and pipe.ended and not pipe.bytes:
            reason = "nothing came"
        else:
            reason = _why_not_opened(error, source, time.monotonic() - begun)
        raise VideoError(
            f"cannot read {source.name} as a video: {reason}{_hint(source)}"
        ) from error
    with contextlib.ExitStack() as undo:
        undo.callback(close_video, source, container)
        if not source.is_address:
            check_names(container.format.name, source.options)
        if problem := _problem(container, source):
            raise VideoError(f"{source.name} {problem}")
        undo.pop_all()
    return container, _best(container)


def why(error: Exception, source: Input) -> str:
    """What went wrong with ``source``, in words."""
    import av

    if isinstance(error, av.error.ExitError) and source.timeout is not None:
        return _no_answer(source.timeout)  # FFmpeg says that it was told to leave
    # FFmpeg finds its data invalid, as it does any that it knows not.
    if source.path and source.path.is_file() and not source.path.stat().st_size:
        return "the file is empty"
    if isinstance(error, av.error.InvalidDataError) and source.path and _lacks_index(source.path):
        return (
            "its index (the moov box) is missing, which is written last: it was not recorded or "
            "copied to its end; copy it once more, or let a tool that repairs recordings make the "
            "index anew"
        )
    return reason_of(error)


def _why_not_opened(error: Exception, source: Input, seconds: float) -> str:
    """What went wrong with ``source`` within ``seconds``, in words. FFmpeg finds an .mp4 invalid
    where no more of it came before its index, for whatever reason."""
    import av

    if isinstance(error, av.error.InvalidDataError):
        if source.timeout is not None and seconds >= source.timeout:
            return _no_answer(source.timeout)
        if source.is_download:
            return f"{reason_of(error)}, or the connection broke off before an .mp4 gave its index"
    return why(error, source)


def _no_answer(seconds: float) -> str:
    return f"no answer in {seconds:g} seconds"


def _lacks_index(path: Path) -> bool:
    """Whether it is an .mp4 or .mov by its first box, and none of its boxes holds the index."""
    kinds: list[bytes] = []
    begin = 0
    try:
        with path.open("rb") as file:
            end = path.stat().st_size
            while begin < end:  # a length may be any number, more than a file can be sought to
                file.seek(begin)
                head = file.read(16)
                size = int.from_bytes(head[:4], "big")
                length = int.from_bytes(head[8:], "big") if size == 1 else size  # 0: to the end
                kinds.append(head[4:8])
                if kinds[0] != b"ftyp" or length < 8:
                    break
                begin += length
    except OSError:
        return False
    # Still pictures (.heic) have another index, of this name.
    return kinds[:1] == [b"ftyp"] and not {b"moov", b"meta"} & set(kinds)


def is_chapters(container: Any, stream: Any) -> bool:
    """Whether a stream holds but the names of the chapters, as FFmpeg marks it in .mp4 and .mov."""
    return stream.type == "data" and stream.name == "bin_data" and bool(container.chapters())


def is_still_of_animation(container: Any, stream: Any) -> bool:
    """Whether it is the picture that an animated AVIF (brand ``avis``) has for who plays none."""
    return container.metadata.get("major_brand") == "avis" and stream.duration is None


def close_video(source: Input, container: Any) -> None:
    """Let go of what :func:`open_video` gave."""
    if source.is_camera:
        close_camera(container)
    else:
        container.close()


def _container(source: Input, decoder: Decoder, keep_on: str | None, pipe: Pipe | None) -> Any:
    import av

    if decoder == "cpu":
        return _opened(source, None, pipe)
    reason = hardware.why_no_nvdec()
    if reason is not None:
        if decoder == "nvdec":
            raise VideoError(f"NVDEC cannot be used here: {reason}; decode with auto or cpu")
        _log.info("%s is decoded on the CPU: %s", source.name, reason)
        return _opened(source, None, pipe)
    for place in dict.fromkeys((keep_on, None)):  # in the host's memory if not in the GPU's
        try:
            with hardware.context_of(place):
                return _opened(source, _accelerator(decoder, place), pipe)
        except RuntimeError as error:  # no stream of a codec that NVDEC has
            raise VideoError(
                f"NVDEC cannot decode {source.name}: {error}; decode with auto or cpu"
            ) from error
        except av.FFmpegError as error:
            if decoder == "nvdec" and place is None:
                raise
            kept = "" if place is None else f" with pictures in the memory of {place}"
            _log.warning("NVDEC does not open for %s%s: %s", source.name, kept, reason_of(error))
    return _opened(source, None, pipe)


def _accelerator(decoder: Decoder, keep_on: str | None) -> "HWAccel":
    """``keep_on`` must be what is current."""
    from av.codec.hwaccel import HWAccel

    return HWAccel(
        "cuda",
        device=None if keep_on is None else keep_on.partition(":")[2] or "0",
        allow_software_fallback=decoder == "auto",
        # By itself PyAV has FFmpeg set the GPU's primary context up, which refuses what PyTorch
        # has set up already.
        options=None if keep_on is None else {"primary_ctx": "0", "current_ctx": "1"},
        is_hw_owned=keep_on is not None,
    )


def _opened(source: Input, accelerator: "HWAccel | None", pipe: Pipe | None) -> Any:
    return open_container(
        pipe or (source.url if source.path is None else name_for_ffmpeg(source.url)),
        buffer_size=AT_ONCE,
        format=source.format,
        # Not all of them for the decoders as well, as PyAV would: of a camera that has no frames of
        # the size that is asked for, that one would be believed, and every frame be damaged.
        options={"max_pixels": str(source.most_decoded)},
        container_options=camera_options(source) if source.is_camera else dict(source.options),
        timeout=source.timeout,
        hwaccel=accelerator,
    )


def _best(container: Any) -> Any:
    best = container.streams.best("video") or container.streams.video[0]
    # Of sound with a cover there is no video, though FFmpeg counts the cover as one.
    films = [s for s in container.streams.video if not is_cover(s)]
    return best if best in films or not films else films[0]


def is_cover(stream: Any) -> bool:
    """Whether it is one picture, of a song or a film."""
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)


def _problem(container: Any, source: Input) -> str | None:
    """Why the video is not even begun, or None."""
    if not container.streams.video:
        return "has no video stream"
    if all(is_cover(stream) for stream in container.streams.video):
        return "has no video stream, only a cover picture"
    video, most = _best(container), source.most_pixels
    if video.codec_context is None:
        return "holds video that this FFmpeg has no decoder for"
    if video.width * video.height > most:
        return (
            f"says that its frames are {video.width}x{video.height}; expected at most {most:,} "
            "pixels; if it is right, give --source-option max_pixels=NUMBER"
        )
    return not_as_asked(source, video) if source.is_camera else None


def _hint(source: Input) -> str:
    """What raw pictures lack; what was asked for with a format that is named, since neither FFmpeg
    nor a camera's driver says what of it is refused."""
    if source.format is None and Path(source.url).suffix.lower() in _RAW:
        return (
            "; where it holds raw pictures, say so: the source format raw, and the source options "
            "video_size=640x360, pixel_format=yuv420p, framerate=25 or whatever they are"
        )
    if not source.format or not source.options:
        return ""
    wishes = ", ".join(f"{name}={value}" for name, value in source.options.items())
    told = f"; it was asked for {wishes}"
    return f"{told}, and {how_to_list(source)}" if source.is_camera else told
