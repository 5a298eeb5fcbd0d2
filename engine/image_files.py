"""Picture files as frames: read for a generator, and written from what it has made of them.

H height, W width. How a file becomes pixels is said in :mod:`cyclegan.pictures`. Beyond that,
transparency is kept aside and given to the result where its format can hold it (PNG, WebP, TIFF),
and so are 16 bits a channel (PNG, TIFF).
"""

import io
from pathlib import Path
from typing import cast

import numpy as np
from PIL import ExifTags, Image

from cyclegan.config import Depth
from cyclegan.deep_pictures import (
    DEEP_SUFFIXES,
    DeepPicture,
    flat,
    in_depth,
    is_deep,
    read_deep,
    write_deep,
)
from cyclegan.engine.frames import Frames, depth_of
from cyclegan.errors import ImageError, OutputError
from cyclegan.pictures import (
    DAMAGE,
    SUFFIXES,
    Channels,
    Picture,
    open_image,
    picture_from_image,
    save_image,
    write_picture,
)

HOLD_ALPHA = frozenset({".png", ".tif", ".tiff", ".webp"})
"""Suffixes of formats that can hold transparency."""
_ANIMATED = frozenset({"AVIF", "GIF", "PNG", "WEBP"})
"""Formats whose further pictures are played one after the other, as videos are translated."""
_WITH_PREVIEWS = "MPO"
"""The format whose further pictures are the first one, smaller, or from beside it."""
_OF_THE_SHOT = frozenset(
    {
        ExifTags.Base.ImageDescription,
        ExifTags.Base.Make,
        ExifTags.Base.Model,
        ExifTags.Base.DateTime,
        ExifTags.Base.Artist,
        ExifTags.Base.Copyright,
        ExifTags.IFD.Exif,
        ExifTags.IFD.GPSInfo,
    }
)
"""Of a TIFF's tags, which are EXIF's, those that say what it shows, where, when and by whom."""


def is_picture(path: Path) -> bool:
    """Whether the content is a still picture, not a video or an animation.

    Several pictures in a file that are not played (pages, previews) are no animation. Where the
    content does not tell, the name does.
    """
    try:
        with Image.open(path) as image:
            # Pillow knows an MPEG stream by its first bytes, but reads no pictures from it.
            return image.format != "MPEG" and not _is_animated(image)
    except Image.DecompressionBombError:
        return True  # Too large a one, as reading it will say.
    except DAMAGE:
        return path.suffix.lower() in SUFFIXES


def _is_animated(image: Image.Image) -> bool:
    return image.format in _ANIMATED and bool(getattr(image, "is_animated", False))


def read_image(
    path: Path, channels: int = 3, *, keep_alpha: bool = False, depth: Depth = 8
) -> tuple[Frames, Frames | None]:
    """(H, W, 1 or 3) of ``depth`` bits, and its transparency, (H, W), where it has one and it is
    kept.

    Raises ImageError when the file is missing, truncated or no picture, or for other channels;
    DepthError where ``depth`` is 16 and that many cannot be read.
    """
    if channels not in (1, 3):
        raise ImageError(f"{path}: this generator takes {channels} channels; pictures have 1 or 3")
    known = cast(Channels, channels)
    if depth == 16 and is_deep(path):
        array = read_deep(path)
        if keep_alpha and array.shape[2] == 4:
            return flat(array[..., :3], known), array[..., 3]
        return flat(array, known), None
    image = open_image(path)
    alpha = None
    if keep_alpha and image.has_transparency_data:
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
        image = image.convert("RGBA").convert("RGB")
    frame = picture_from_image(image, known)
    return in_depth(frame, depth), None if alpha is None else in_depth(alpha, depth)


def write_image(path: Path, frame: Frames, alpha: Frames | None = None) -> None:
    """Write uint8 or uint16 (H, W, 1 or 3), with transparency (H, W) of the same type if given.

    What the format has 8 bits for is rounded. Raises OutputError.
    """
    check_suffix(path)
    if depth_of(frame) == 16:
        if path.suffix.lower() in DEEP_SUFFIXES:
            write_deep(cast(DeepPicture, _with_alpha(frame, alpha)), path)
            return
        frame, alpha = in_depth(frame, 8), None if alpha is None else in_depth(alpha, 8)
    if alpha is None:
        write_picture(cast(Picture, frame), path)
        return
    image = Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame)
    image.putalpha(Image.fromarray(alpha))
    save_image(image, path)


def _with_alpha(frame: Frames, alpha: Frames | None) -> Frames:
    """(H, W, 1, 3 or 4): the same, or RGB with opacity."""
    if alpha is None:
        return frame
    colour = frame.repeat(3, axis=2) if frame.shape[2] == 1 else frame
    return np.concatenate([colour, alpha[..., None]], axis=2)


def check_suffix(path: Path) -> None:
    """Raises OutputError unless the name ends as that of a picture that can be written."""
    if path.suffix.lower() not in SUFFIXES:
        raise OutputError(
            f"{path}: pictures are written as {', '.join(sorted(SUFFIXES))}, by the name's ending"
        )


def losses(path: Path) -> tuple[str, ...]:
    """What of a picture no result gets, in words; nothing of a file that cannot be read."""
    lost = []
    try:
        with Image.open(path) as image:
            if _is_animated(image):
                lost.append(
                    "of an animation the first picture; by itself it is translated as a video"
                )
            elif image.format != _WITH_PREVIEWS and getattr(image, "n_frames", 1) > 1:
                lost.append("of several pictures in a file the first")
            if (profile := image.info.get("icc_profile")) and (name := _other_than_srgb(profile)):
                lost.append(f"the colour profile {name} was left out: colours were taken for sRGB")
            if _has_exif(image):
                lost.append("EXIF data were left out")
    except DAMAGE:
        return ()
    return tuple(lost)


def _has_exif(image: Image.Image) -> bool:
    """Whether a picture has EXIF data beyond its orientation, which is applied."""
    if image.format == "TIFF":
        return not _OF_THE_SHOT.isdisjoint(image.getexif())
    # Asked first: where a PNG has none, Pillow would decode it to look for them at its end.
    return bool(image.info.get("exif") and set(image.getexif()) - {ExifTags.Base.Orientation})


def _other_than_srgb(profile: bytes) -> str | None:
    """What an ICC profile calls itself; None where that is sRGB."""
    from PIL import ImageCms

    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = ImageCms.getProfileDescription(opened).strip()
    except (OSError, ImageCms.PyCMSError):
        name = "without a name"
    return None if "sRGB" in name else name
