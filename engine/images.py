"""Pictures and folders of pictures, translated.

How files become frames and back is said in :mod:`cyclegan.engine.image_files`.
"""

import os
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cyclegan.deep_pictures import DEEP_SUFFIXES, is_deep
from cyclegan.engine import muxers
from cyclegan.engine.endpoints import STANDARD_OUTPUT, local_name
from cyclegan.engine.frames import Frames, VideoDepth
from cyclegan.engine.image_files import (
    HOLD_ALPHA,
    check_suffix,
    is_picture,
    losses,
    read_image,
    write_image,
)
from cyclegan.engine.options import Show, VideoOptions, VideoStats
from cyclegan.engine.pipeline import run_pipeline
from cyclegan.engine.progress import Progress
from cyclegan.engine.translator import Translation, Translator
from cyclegan.engine.video import check_depth, check_translator, open_input, translate_video
from cyclegan.errors import ConfigError, DepthError, ImageError, OutputError
from cyclegan.pictures import list_pictures
from cyclegan.targets import check_target, check_targets


@dataclass(frozen=True, kw_only=True)
class ImageStats:
    """What a translation of pictures did."""

    pictures: int
    skipped: tuple[str, ...]
    """Messages about pictures that could not be read, where those are passed over."""
    notes: tuple[str, ...] = ()
    """What the results lack of their sources."""


def translate_path(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    translator: Translator,
    *,
    skip_bad: bool = False,
    options: VideoOptions | None = None,
    progress: Progress | None = None,
    show: Show | None = None,
    stop: threading.Event | None = None,
) -> ImageStats | VideoStats:
    """Translate a picture, a folder of pictures or a video, whatever ``source`` is by its content.

    Raises as :func:`translate_image`, :func:`translate_folder` and
    :func:`~cyclegan.engine.video.translate_video` do, and ConfigError for pictures with ``options``
    other than a depth or with ``show``, which are for videos.
    """
    options, target = options or VideoOptions(), local_name(os.fspath(target))
    path = source_path(source, options)
    if path and path.is_dir():
        _check_no_video(path, options, show)
        if target in STANDARD_OUTPUT:
            raise OutputError(
                f"{path} is a folder of pictures, which standard output does not take: give the "
                "name of a folder"
            )
        return translate_folder(
            path, target, translator, depth=options.depth, skip_bad=skip_bad, progress=progress
        )
    if path and is_picture(path):
        _check_no_video(path, options, show)
        stats = translate_image(path, target, translator, depth=options.depth)
        if progress:
            progress(1, 1)
        return stats
    return translate_video(
        source, target, translator, options, progress=progress, show=show, stop=stop
    )


def _check_folder(source: Path, target: Path) -> None:
    """Raises OutputError unless ``target`` may become the folder of what is in ``source``."""
    check_target(source, target)
    if target.suffix.lower() in muxers.SUFFIXES and not target.is_dir():
        raise OutputError(
            f"{target} is called as a video, and pictures of a folder become pictures in another: "
            f"give the name of a folder; a video is made of numbered pictures, such as "
            f"'{source / '*.png'}'"
        )


def source_path(source: str | os.PathLike[str], options: VideoOptions) -> Path | None:
    """The file or folder that ``source`` is; None for streams, cameras and what is read as a format
    that is named. Raises ImageError where there is none, and as videos are opened.
    """
    path = None if options.source_format else open_input(source, options).path
    if path and not path.exists():
        raise ImageError(f"there is no file or folder {path}")
    return path


def _check_no_video(path: Path, options: VideoOptions, show: Show | None) -> None:
    """Raises ConfigError for settings of videos, which pictures would pass over in silence."""
    names = [name for name in options.changed() if name != "depth"]
    if show is not None:
        names.append("preview")
    if names:
        what = "a folder of pictures" if path.is_dir() else "a picture"
        raise ConfigError(
            f"{', '.join(names).replace('_', '-')}: for videos only, and {path} is {what}; leave "
            "out what it does not take"
        )


def translate_image(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    translator: Translator,
    *,
    depth: VideoDepth = "auto",
) -> ImageStats:
    """Translate one picture, with ``depth`` bits a channel; "auto": 16 where source and target have
    as many, they can be read, and the translator takes them.

    Raises ImageError when it cannot be read, OutputError, ConfigError, also for a translator that
    remembers the frames of a video that it is at work on, and BackendError where ``translator``
    does not take that depth.
    """
    check_translator(translator)
    check_depth(translator, depth)
    source, target = Path(source), Path(target)
    check_suffix(target)
    check_target(source, target)
    read = _read(source, target, translator, depth)
    with translator.one_video():
        made = translator(read.frame)
    write_image(target, made, read.alpha)
    return ImageStats(pictures=1, skipped=(), notes=read.notes)


def translate_folder(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    translator: Translator,
    *,
    depth: VideoDepth = "auto",
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> ImageStats:
    """Translate every picture below the folder ``source`` into the same place below ``target``.

    Names stay as they are; ``depth`` is as for :func:`translate_image`. Reading, translation and
    writing overlap. Raises DataError for an empty folder, ImageError for the first picture that
    cannot be read, unless ``skip_bad``; OutputError, also where ``target`` is ``source``, lies
    inside it or is called as a video; ConfigError for what is no translator, or one that remembers
    the frames of a video that it is at work on; BackendError for a depth that it does not take.
    """
    check_translator(translator)
    check_depth(translator, depth)
    source, target = Path(source), Path(target)
    _check_folder(source, target)
    paths = list_pictures(source)
    check_targets(paths, (target / path.relative_to(source) for path in paths))
    skipped: list[str] = []
    notes: Counter[str] = Counter()
    done = 0

    def read() -> Iterator[_Source]:
        for path in paths:
            try:
                yield _read(path, target / path.relative_to(source), translator, depth)
            except ImageError as error:
                if not skip_bad:
                    raise
                skipped.append(str(error))

    def submit(items: list[_Source]) -> list[tuple[_Source, Translation[Frames]]]:
        return [(item, translator.submit(item.frame)) for item in items]

    def write(item: tuple[_Source, Translation[Frames]]) -> None:
        nonlocal done
        picture, translation = item
        write_image(picture.target, translator.collect(translation), picture.alpha)
        notes.update(picture.notes)
        done += 1
        if progress:
            progress(done, len(paths))

    with translator.one_video():
        run_pipeline(read(), submit, write, capacity=translator.slots + 1)
    counted = tuple(f"{note} ({count} pictures)" for note, count in notes.items())
    return ImageStats(pictures=done, skipped=tuple(skipped), notes=counted)


@dataclass(frozen=True)
class _Source:
    target: Path
    frame: Frames
    alpha: Frames | None
    notes: tuple[str, ...]


def _read(path: Path, target: Path, translator: Translator, asked: VideoDepth) -> _Source:
    """The picture at ``path``, as deep as ``target`` and ``translator`` can make use of."""
    suffix, depths = target.suffix.lower(), translator.depths
    depth = depths[0] if asked == "auto" else asked
    notes = losses(path)
    if asked != 8 and is_deep(path):
        if suffix not in DEEP_SUFFIXES:
            notes += (
                f"the source has more than 8 bits a channel, {suffix} holds 8; .png holds 16",
            )
        elif 16 in depths:
            depth = 16
        else:
            notes += (
                "the source has more than 8 bits a channel, and was translated with 8: the "
                f"generator, as it was opened ({translator.description}), takes no more",
            )
    channels, keep_alpha = translator.info.config.in_channels, suffix in HOLD_ALPHA
    try:
        frame, alpha = read_image(path, channels, keep_alpha=keep_alpha, depth=depth)
    except DepthError:
        if asked != "auto" or 8 not in depths:
            raise
        frame, alpha = read_image(path, channels, keep_alpha=keep_alpha)
        notes += (
            "the source has more than 8 bits a channel, and was translated with 8: of its form no "
            "more are read; store it as a plain PNG",
        )
    return _Source(target, frame, alpha, notes)
