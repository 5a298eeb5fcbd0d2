"""A video, translated: decoding, translation and encoding overlap.

What is kept: the time of every frame, audio and subtitles (copied as they are), chapters, titles,
the size, the shape of pixels, colour tags, depth, rotation and mirroring. Times may vary, and need
not begin at zero.
"""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from cyclegan.engine.comparison import COMBINE
from cyclegan.engine.containers import VideoReader
from cyclegan.engine.conversion import is_gpu
from cyclegan.engine.endpoints import AnyPath, Input, Output, input_from, output_to
from cyclegan.engine.frames import VideoDepth
from cyclegan.engine.job import Job
from cyclegan.engine.live import EndlessReader
from cyclegan.engine.options import Show, VideoOptions, VideoStats
from cyclegan.engine.progress import Progress
from cyclegan.engine.segments import (
    Segments,
    SegmentWriter,
    fingerprint,
    remove_segments,
    segments_folder,
)
from cyclegan.engine.translator import Translator
from cyclegan.engine.writer import VideoWriter
from cyclegan.errors import (
    BackendError,
    ConfigError,
    OutputError,
    VideoError,
    reason_of,
)
from cyclegan.files import behind_link, fitting, replacing
from cyclegan.network_config import check
from cyclegan.targets import check_pattern, check_target, check_targets


def translate_video(
    source: AnyPath,
    target: AnyPath,
    translator: Translator,
    options: VideoOptions | None = None,
    *,
    progress: Progress | None = None,
    show: Show | None = None,
    stop: threading.Event | None = None,
) -> VideoStats:
    """Translate the video ``source`` into the video ``target``.

    What their names can mean is said in :mod:`cyclegan.engine.endpoints`. A file ``target`` appears
    when it is whole; until then, and after an error or an interrupt, what was there stays. Setting
    ``stop`` ends a camera, a stream or a live run in good order.

    Raises VideoError when ``source`` is no video or has no frames; StoppedEarlyError, which is one,
    when ``stop`` was set before there was one, or anybody read the named pipe ``target``. When it
    is damaged, ends early, or changes its size or how its pictures are turned, what could be
    decoded is kept beside ``target``, as ``NAME.partial.SUFFIX``, and VideoError says so. Raises
    OutputError when ``target`` cannot be written, or another resumed run is at work on it;
    ConfigError when ``translator`` or ``options`` are none, or for a translator that remembers the
    frames of another video that it is at work on.
    """
    check_translator(translator)
    options, stop = options or VideoOptions(), stop or threading.Event()
    check(
        isinstance(options, VideoOptions),
        f"options are a {type(options).__name__}; expected VideoOptions, such as "
        "VideoOptions(resume=True)",
    )
    opened = open_input(source, options)
    output = output_to(target, options.encoding.container)
    if output.is_file:
        if opened.path:
            check_target(opened.path, Path(output.url))
        check_targets(opened.pictures, [Path(output.url)])
    if opened.format == output.format == "image2":
        check_pattern(opened.name, output.name, opened.pictures)
    if opened.path:
        check_targets([opened.path], output.pictures)
    check_channels(translator)
    check_depth(translator, options.depth)
    if options.resume:
        return _in_segments(opened, output, translator, options, progress, show, stop)
    keep_on = _keep_on(translator, options)
    with (
        translator.one_video(),
        open_reader(opened, options, stop, keep_on) as reader,
        placing(output) as place,
    ):
        job = Job(reader, translator, options, progress=progress, show=show, stop=stop)
        stats = job.run(lambda: open_writer(place, reader, options))
        if reader.problems:
            raise damaged(reader, stats.frames, place, output)
    return stats


def _in_segments(
    source: Input,
    output: Output,
    translator: Translator,
    options: VideoOptions,
    progress: Progress | None,
    show: Show | None,
    stop: threading.Event,
) -> VideoStats:
    """The same, through segments that outlive an interrupted run. Raises ConfigError too."""
    if translator.remembers:
        raise ConfigError(
            "a steadied run, or one under the statistics of the first frame, depends on frames "
            "that a resumed run does not translate again: give it without resume"
        )
    if source.path is None or not output.is_file:
        raise ConfigError(
            f"cannot resume from {source.name} to {output.name}: both must be files, which can be "
            "read again"
        )
    with (
        open_reader(source, options, stop, _keep_on(translator, options)) as reader,
        VideoReader(source, options.part) as sound,
        VideoReader(source, options.part, decoder=options.decoder) as first,
        segments_folder(Path(output.url)) as folder,
    ):
        with placing(output) as place:

            def open_segments() -> SegmentWriter:
                sound.layout = reader.layout
                final = open_writer(place, sound, options)
                try:
                    facts = fingerprint(first, translator, options, final.chosen)
                    segments = Segments(folder, facts)
                    reader.skipped = segments.frames
                    return SegmentWriter(final, segments, sound)
                except BaseException:
                    final.discard()
                    raise

            job = Job(reader, translator, options, progress=progress, show=show, stop=stop)
            stats = job.run(open_segments)
            if reader.problems:
                raise damaged(reader, stats.frames + reader.skipped, place, output)
        remove_segments(folder)
    return stats


def open_input(source: AnyPath, options: VideoOptions) -> Input:
    """What ``source`` means under ``options``. Raises VideoError, ConfigError."""
    return input_from(
        source,
        form=options.source_format,
        options=options.source_options,
        retry=options.retry,
    )


def _keep_on(translator: Translator, options: VideoOptions) -> str | None:
    """The GPU in whose memory decoded pictures had better stay; None: in the host's."""
    wanted = options.convert != "cpu" and options.compare == "none" and not options.part.size
    return translator.planes_on if wanted and is_gpu(translator.planes_on) else None


def open_reader(
    source: Input, options: VideoOptions, stop: threading.Event, keep_on: str | None = None
) -> VideoReader:
    """The reader for ``source``. Raises VideoError."""
    if source.endless:
        return EndlessReader(
            source,
            options.part,
            live=options.live,
            decoder=options.decoder,
            keep_on=keep_on,
            retry=options.retry,
            stop=stop,
        )
    return VideoReader(
        source,
        options.part,
        live=options.live,
        decoder=options.decoder,
        keep_on=keep_on,
        stop=stop if options.live else None,
    )


def open_writer(place: Output, reader: VideoReader, options: VideoOptions) -> VideoWriter:
    """The writer for what ``reader`` gives, under ``options``. Raises OutputError, VideoError."""
    assert reader.layout is not None
    widths = COMBINE[options.compare].widths
    return VideoWriter(
        place,
        reader,
        options.encoding,
        width=widths * reader.layout.width,
        depth=options.depth,
        live=options.live,
    )


@contextlib.contextmanager
def placing(output: Output) -> Iterator[Output]:
    """``output`` under a temporary name, if it is a file. Raises OutputError, VideoError."""
    import av

    try:
        if output.is_file:
            with replacing(output.url) as temporary:
                yield replace(output, url=str(temporary))
            return
        if output.format == "image2":
            Path(output.name).parent.mkdir(parents=True, exist_ok=True)
        yield output
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"cannot write {output.name}: {reason_of(error)}") from error
    except av.FFmpegError as error:
        more = "" if output.url.endswith(".mkv") else "; an .mkv holds more, such as long pauses"
        raise VideoError(f"FFmpeg cannot write {output.name}: {reason_of(error)}{more}") from error


def damaged(reader: VideoReader, frames: int, place: Output, output: Output) -> VideoError:
    """The error for a damaged source, when what could be translated lies beside the target."""
    where = output.name
    if output.is_file:
        target = behind_link(Path(output.url))
        partial = target.with_name(fitting(target.stem, f".partial{target.suffix}"))
        if reader.source.path and partial.exists() and partial.samefile(reader.source.path):
            partial = target.with_name(fitting(target.stem, f".partial.partial{target.suffix}"))
        Path(place.url).replace(partial)
        where = str(partial)
    return VideoError(
        f"{reader.name} is damaged: {'; '.join(reader.problems)}. "
        f"The {frames} frames that could be decoded are in {where}"
    )


def check_translator(translator: object) -> None:
    """Raises ConfigError for what is no open translator, such as a model's path."""
    if not isinstance(translator, Translator):
        raise ConfigError(
            f"got {translator!r} as translator; expected an open one: "
            "with Translator.open(model) as translator: ..."
        )


def check_channels(translator: Translator) -> None:
    """Raises VideoError unless the generator takes and gives colour pictures."""
    config = translator.info.config
    if (config.in_channels, config.out_channels) != (3, 3):
        raise VideoError(
            f"this generator takes {config.in_channels} channels and gives {config.out_channels}; "
            "videos need 3 and 3"
        )


def check_depth(translator: Translator, depth: VideoDepth) -> None:
    """Raises BackendError where ``translator`` cannot take the depth that is asked for by name."""
    if depth not in ("auto", *translator.depths):
        raise BackendError(
            f"{translator.description} takes frames of {translator.depths[0]} bits a channel, not "
            f"{depth}; leave out the depth, or take another backend"
        )
