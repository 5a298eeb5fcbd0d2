"""Pictures and folders of pictures, translated.

H height, W width. How a file becomes pixels is said in :mod:`cyclegan.pictures`. Beyond that,
transparency is kept aside and given to the result where its format can hold it (PNG, WebP, TIFF).
"""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from cyclegan.engine.options import Progress, Show, VideoOptions, VideoStats
from cyclegan.engine.pipeline import run_pipeline
from cyclegan.engine.targets import check_target, check_targets
from cyclegan.engine.tickets import Frames
from cyclegan.engine.translator import Translation, Translator
from cyclegan.engine.video import check_translator, open_input, translate_video
from cyclegan.errors import ConfigError, ImageError, OutputError
from cyclegan.pictures import (
    DAMAGE,
    SUFFIXES,
    Channels,
    list_pictures,
    open_image,
    picture_from_image,
    save_image,
    write_picture,
)

_HOLD_ALPHA = frozenset({".png", ".tif", ".tiff", ".webp"})
_ANIMATED = frozenset({"GIF", "PNG", "WEBP"})
"""Formats whose further pictures are played one after the other."""


@dataclass(frozen=True, kw_only=True)
class ImageStats:
    """What a translation of pictures did."""

    pictures: int
    skipped: tuple[str, ...]
    """Messages about pictures that could not be read, where those are passed over."""


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
    or ``show``, which are for videos.
    """
    options = options or VideoOptions()
    path = open_input(source, options).path
    if path and path.is_dir():
        _check_no_video(path, options, show)
        return translate_folder(path, target, translator, skip_bad=skip_bad, progress=progress)
    if path and not path.exists():
        raise ImageError(f"there is no file or folder {path}")
    if path and is_picture(path):
        _check_no_video(path, options, show)
        translate_image(path, target, translator)
        return ImageStats(pictures=1, skipped=())
    return translate_video(
        source, target, translator, options, progress=progress, show=show, stop=stop
    )


def _check_no_video(path: Path, options: VideoOptions, show: Show | None) -> None:
    """Raises ConfigError for settings of videos, which pictures would pass over in silence."""
    names = [name for name in options.changed() if (name, options.depth) != ("depth", 8)]
    if show is not None:
        names.append("preview")
    if names:
        what = "a folder of pictures" if path.is_dir() else "a picture"
        raise ConfigError(
            f"{', '.join(names).replace('_', '-')}: for videos only, and {path} is {what}; leave "
            "out what it does not take"
        )


def translate_image(
    source: str | os.PathLike[str], target: str | os.PathLike[str], translator: Translator
) -> None:
    """Translate one picture. Raises ImageError when it cannot be read, OutputError, ConfigError."""
    check_translator(translator)
    source, target = Path(source), Path(target)
    _check_suffix(target)
    check_target(source, target)
    frame, alpha = read_image(
        source,
        translator.info.config.in_channels,
        keep_alpha=target.suffix.lower() in _HOLD_ALPHA,
    )
    write_image(target, translator(frame), alpha)


def translate_folder(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    translator: Translator,
    *,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> ImageStats:
    """Translate every picture below the folder ``source`` into the same place below ``target``.

    Names stay as they are. Reading, translation and writing overlap. Raises DataError for an empty
    folder, ImageError for the first picture that cannot be read, unless ``skip_bad``; OutputError,
    also where ``target`` is ``source`` or lies inside it; ConfigError for what is no translator.
    """
    check_translator(translator)
    source, target = Path(source), Path(target)
    check_target(source, target)
    paths = list_pictures(source)
    check_targets(paths, (target / path.relative_to(source) for path in paths))
    channels = translator.info.config.in_channels
    skipped: list[str] = []
    done = 0

    def read() -> Iterator[_Read]:
        for path in paths:
            try:
                keep_alpha = path.suffix.lower() in _HOLD_ALPHA
                frame, alpha = read_image(path, channels, keep_alpha=keep_alpha)
            except ImageError as error:
                if not skip_bad:
                    raise
                skipped.append(str(error))
                continue
            yield _Read(path.relative_to(source), frame, alpha)

    def submit(items: list[_Read]) -> list[tuple[_Read, Translation[Frames]]]:
        return [(item, translator.submit(item.frame)) for item in items]

    def write(item: tuple[_Read, Translation[Frames]]) -> None:
        nonlocal done
        picture, translation = item
        frame = cast(NDArray[np.uint8], translator.collect(translation))
        write_image(target / picture.name, frame, picture.alpha)
        done += 1
        if progress:
            progress(done, len(paths))

    run_pipeline(read(), submit, write, capacity=translator.slots + 1)
    return ImageStats(pictures=done, skipped=tuple(skipped))


def is_picture(path: Path) -> bool:
    """Whether the content is a still picture, not a video or an animation.

    Several pictures in a file that are not played (pages, previews) are no animation. Where the
    content does not tell, the name does.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            # Pillow knows an MPEG stream by its first bytes, but reads no pictures from it.
            animated = image.format in _ANIMATED and getattr(image, "is_animated", False)
            return image.format != "MPEG" and not animated
    except Image.DecompressionBombError:
        return True  # Too large a one, as reading it will say.
    except DAMAGE:
        return path.suffix.lower() in SUFFIXES


def read_image(
    path: Path, channels: int = 3, *, keep_alpha: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """uint8 (H, W, 1 or 3), and its transparency, uint8 (H, W), where it has one and it is kept.

    Raises ImageError when the file is missing, truncated or no picture, or for other channels.
    """
    if channels not in (1, 3):
        raise ImageError(f"{path}: this generator takes {channels} channels; pictures have 1 or 3")
    image = open_image(path)
    alpha = None
    if keep_alpha and image.has_transparency_data:
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
        image = image.convert("RGBA").convert("RGB")
    return picture_from_image(image, cast(Channels, channels)), alpha


def write_image(
    path: Path, frame: NDArray[np.uint8], alpha: NDArray[np.uint8] | None = None
) -> None:
    """Write uint8 (H, W, 1 or 3), with transparency (H, W) if given. Raises OutputError."""
    from PIL import Image

    _check_suffix(path)
    if alpha is None:
        write_picture(frame, path)
        return
    image = Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame)
    image.putalpha(Image.fromarray(alpha))
    save_image(image, path)


def _check_suffix(path: Path) -> None:
    if path.suffix.lower() not in SUFFIXES:
        raise OutputError(
            f"{path}: pictures are written as {', '.join(sorted(SUFFIXES))}, by the name's ending"
        )


@dataclass(frozen=True)
class _Read:
    name: Path
    frame: Frames
    alpha: NDArray[np.uint8] | None
