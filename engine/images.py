"""Pictures and folders of pictures, translated.

H height, W width. How a picture becomes RGB, uint8 (H, W, 3) in [0, 255]:

- it is turned upright as its EXIF orientation says;
- grayscale is repeated in three channels; palettes are looked up; CMYK and others are converted by
  Pillow; 16-bit grayscale keeps its upper 8 bits;
- transparency is kept aside and given to the result where its format can hold it (PNG, WebP, TIFF),
  else the transparent picture is laid on white before it is translated.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cyclegan.engine.pipeline import run_pipeline
from cyclegan.engine.tickets import Frames
from cyclegan.engine.translator import Translation, Translator
from cyclegan.engine.video import Progress, VideoStats, translate_video
from cyclegan.errors import ImageError, OutputError
from cyclegan.files import write_atomically

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""Endings of what is read from folders, and of what can be written."""
_HOLD_ALPHA = frozenset({".png", ".tif", ".tiff", ".webp"})
_SAVING: dict[str, dict[str, Any]] = {
    ".jpg": {"quality": 95, "subsampling": 0},
    ".jpeg": {"quality": 95, "subsampling": 0},
    ".webp": {"quality": 95},
}


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
    progress: Progress | None = None,
) -> ImageStats | VideoStats:
    """Translate a picture, a folder of pictures or a video, whatever ``source`` is by its content.

    Raises as :func:`translate_image`, :func:`translate_folder` and
    :func:`~cyclegan.engine.video.translate_video` do.
    """
    source = Path(source)
    if source.is_dir():
        return translate_folder(source, target, translator, skip_bad=skip_bad, progress=progress)
    if not source.exists():
        raise ImageError(f"there is no file or folder {source}")
    if is_picture(source):
        translate_image(source, target, translator)
        return ImageStats(pictures=1, skipped=())
    return translate_video(source, target, translator, progress=progress)


def translate_image(
    source: str | os.PathLike[str], target: str | os.PathLike[str], translator: Translator
) -> None:
    """Translate one picture. Raises ImageError when it cannot be read, OutputError."""
    target = Path(target)
    _check_target(target)
    frame, alpha = read_image(Path(source), keep_alpha=target.suffix.lower() in _HOLD_ALPHA)
    write_image(target, translator(_channels(frame, translator)), alpha)


def translate_folder(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    translator: Translator,
    *,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> ImageStats:
    """Translate every picture below the folder ``source`` into the same place below ``target``.

    Names stay as they are. Reading, translation and writing overlap. Raises ImageError for an empty
    folder and for the first picture that cannot be read, unless ``skip_bad``; OutputError.
    """
    source, target = Path(source), Path(target)
    paths = sorted(path for path in source.rglob("*") if path.suffix.lower() in PICTURES)
    if not paths:
        raise ImageError(f"{source} holds no pictures ({', '.join(sorted(PICTURES))})")
    skipped: list[str] = []
    done = 0

    def read() -> Iterator[_Read]:
        for path in paths:
            try:
                keep_alpha = path.suffix.lower() in _HOLD_ALPHA
                frame, alpha = read_image(path, keep_alpha=keep_alpha)
            except ImageError as error:
                if not skip_bad:
                    raise
                skipped.append(str(error))
                continue
            yield _Read(path.relative_to(source), frame, alpha)

    def submit(item: _Read) -> tuple[_Read, Translation]:
        return item, translator.submit(_channels(item.frame, translator))

    def write(item: tuple[_Read, Translation]) -> None:
        nonlocal done
        picture, translation = item
        write_image(target / picture.name, translator.collect(translation), picture.alpha)
        done += 1
        if progress:
            progress(done, len(paths))

    run_pipeline(read(), submit, write, capacity=translator.slots + 1)
    return ImageStats(pictures=done, skipped=tuple(skipped))


def is_picture(path: Path) -> bool:
    """Whether the content is a still picture, not a video or an animation."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            # Pillow knows an MPEG stream by its first bytes, but reads no pictures from it.
            return image.format != "MPEG" and getattr(image, "n_frames", 1) == 1
    except (OSError, UnidentifiedImageError):
        return path.suffix.lower() in PICTURES


def read_image(path: Path, *, keep_alpha: bool = False) -> tuple[Frames, NDArray[np.uint8] | None]:
    """RGB, uint8 (H, W, 3), and its transparency, uint8 (H, W), where it has one and it is kept.

    Raises ImageError when the file is missing, truncated or no picture.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"cannot read the picture {path}: {error}") from error
    upright = _eight_bit(upright)
    if not upright.has_transparency_data:
        return np.asarray(upright.convert("RGB")), None
    rgba = upright.convert("RGBA")
    if keep_alpha:
        return np.asarray(rgba)[..., :3], np.asarray(rgba)[..., 3]
    white = Image.new("RGBA", rgba.size, "white")
    return np.asarray(Image.alpha_composite(white, rgba).convert("RGB")), None


def write_image(path: Path, frame: Frames, alpha: NDArray[np.uint8] | None = None) -> None:
    """Write uint8 (H, W, 1 or 3), with transparency (H, W) if given. Raises OutputError."""
    from PIL import Image

    _check_target(path)
    suffix = path.suffix.lower()
    image = Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame)
    if alpha is not None and suffix in _HOLD_ALPHA:
        image.putalpha(Image.fromarray(alpha))
    write_atomically(path, lambda temporary: image.save(temporary, **_SAVING.get(suffix, {})))


def _eight_bit(image: "Image") -> "Image":
    from PIL import Image

    if image.mode.startswith("I;16") or image.mode == "I":
        return Image.fromarray((np.asarray(image).clip(0, 65535) // 256).astype(np.uint8))
    return image


def _channels(frame: Frames, translator: Translator) -> Frames:
    """RGB as the generator wants it: its luminance for a generator of one channel."""
    from PIL import Image

    if translator.info.config.in_channels != 1:
        return frame
    return np.asarray(Image.fromarray(frame).convert("L"))[..., None]


def _check_target(path: Path) -> None:
    if path.suffix.lower() not in PICTURES:
        raise OutputError(
            f"{path}: pictures are written as {', '.join(sorted(PICTURES))}, by the name's ending"
        )


@dataclass(frozen=True)
class _Read:
    name: Path
    frame: Frames
    alpha: NDArray[np.uint8] | None
