"""Picture files of 16 bits a channel, which Pillow reads with 8 in colour: through FFmpeg's codecs.
Gray ones, and TIFFs of floats and long integers, Pillow reads whole.

H height, W width. Arrays are uint16 in which white is 65535: (H, W, 1) gray, (H, W, 3) RGB, or
(H, W, 4) RGB with opacity.
"""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.ExifTags import Base

from cyclegan.colour import bits_of
from cyclegan.config import Depth
from cyclegan.demuxing import open_container
from cyclegan.errors import DepthError, ImageError, reason_of
from cyclegan.files import name_for_ffmpeg, write_whole
from cyclegan.pictures import (
    DAMAGE,
    TURNS,
    Channels,
    numbers_of,
    opened,
    orientation_of,
    tags_of,
    upright,
    whitened,
)

if TYPE_CHECKING:
    import av

DeepPicture = npt.NDArray[np.uint16]

PEAKS = {np.uint8: 255, np.uint16: 65535}
"""White, by the type of the numbers."""
TYPES: dict[Depth, Any] = {8: np.uint8, 16: np.uint16}

DEEP_SUFFIXES = frozenset({".png", ".tif", ".tiff"})
"""Of what :func:`write_deep` writes."""

_DECODERS = {"PNG": "png", "TIFF": "tiff", "PPM": "ppm"}
"""FFmpeg's, by Pillow's names of the formats that hold 16 bits."""
_TOLD_BY_FFMPEG = ("AVIF", "JPEG2000")
"""Formats of which Pillow does not tell how many bits they hold."""
_CMYK = 5
"""As TIFF's tag of the photometric interpretation has it."""
_FORMATS = {1: "gray16le", 3: "rgb48le", 4: "rgba64le"}
"""FFmpeg's pixel formats, by the number of channels."""


def is_deep(path: Path | str) -> bool:
    """Whether the picture file has more than 8 bits a channel. Raises ImageError."""
    try:
        with Image.open(path) as image:
            if bits := tags_of(image).get(Base.BitsPerSample):
                return bool(max(bits) > 8)
            stored = image.tile[0].args if image.tile else None
            if image.format == "PPM" and isinstance(stored, tuple):
                return int(stored[-1]) > 255
            if image.format in _TOLD_BY_FFMPEG:
                return _bits(path) > 8
            return ";16" in str(stored)
    except DAMAGE as error:
        raise ImageError(f"cannot read {path} as a picture: {reason_of(error)}") from error


def _bits(path: Path | str) -> int:
    """Of a channel; 8 where FFmpeg does not know."""
    import av

    try:
        with open_container(name_for_ffmpeg(str(path))) as container:
            known = [each.format for each in container.streams.video if each.codec_context]
            return max((bits_of(pixels) for pixels in known if pixels), default=8)
    except (av.FFmpegError, ValueError):
        return 8


def read_deep(path: Path | str) -> DeepPicture:
    """All bits of a deep picture, upright.

    Raises ImageError if the file is missing, truncated or not a picture, DepthError if it is of a
    form whose 16 bits cannot be read.
    """
    try:
        with opened(path) as image:
            decoder = _DECODERS.get(image.format or "", "")
            stored = orientation_of(image)  # of the file, which FFmpeg reads as it lies
            tags = tags_of(image)
            tile = image.tile[0] if image.tile else None
            image.load()  # FFmpeg takes damaged files without a word
            if image.mode.startswith("I;16") or (tags and image.mode in ("I", "F")):
                gray = upright(whitened(image), orientation_of(image))
                levels = _levels(gray)
                if (clear := image.info.get("transparency")) is None:
                    return levels[..., None]
                opacity = np.where(levels == clear, 0, 65535).astype(np.uint16)
                return np.stack([levels, levels, levels, opacity], axis=2)
        if not decoder:
            raise _UnknownFormError("of its format no more are read")
        _check_form(tags)
        data = Path(path).read_bytes()
        if decoder == "ppm" and tile and isinstance(tile.args, tuple):
            return _scaled(data, image.size, tile.offset, int(tile.args[-1]))
        return _upright(_decoded(data, decoder), stored)
    except _UnknownFormError as error:
        raise DepthError(
            f"cannot read {path} with 16 bits a channel: {error}; store it as a plain PNG, or "
            "take a depth of 8"
        ) from error
    except DAMAGE as error:
        raise ImageError(f"cannot read {path} as a picture: {reason_of(error)}") from error


def _levels(gray: Image.Image) -> DeepPicture:
    numbers = numbers_of(gray)
    if gray.mode == "F":
        numbers = np.rint(numbers.astype(np.float64) * 65535)
    return numbers.astype(np.uint16)


def in_depth(array: npt.NDArray[Any], depth: Depth) -> npt.NDArray[Any]:
    """uint8 or uint16 as the one that has ``depth`` bits, rounded; ends of the ranges meet."""
    have, want = PEAKS[array.dtype.type], PEAKS[TYPES[depth]]
    if have == want:
        return array
    scaled = (array.astype(np.uint32) * want + have // 2) // have
    return scaled.astype(TYPES[depth])


def flat(array: DeepPicture, channels: Channels) -> DeepPicture:
    """(H, W, ``channels``) of any deep picture: opacity laid over white, ITU-R BT.601 luminance of
    RGB for one channel, gray repeated for three."""
    if array.shape[2] == 4:
        opacity = array[..., 3:].astype(np.uint64)
        over = array[..., :3] * opacity + 65535 * (65535 - opacity)
        array = ((over + 32767) // 65535).astype(np.uint16)
    if array.shape[2] == channels:
        return array
    if channels == 3:
        return array.repeat(3, axis=2)
    weights = np.array([19595, 38470, 7471], np.uint64)  # of 65536, as Pillow has them
    luminance = (array.astype(np.uint64) @ weights + 32768) >> np.uint64(16)
    return luminance.astype(np.uint16)[..., None]


def write_deep(array: DeepPicture, path: Path | str) -> None:
    """Writes a deep picture as PNG or TIFF, by the suffix; the file appears whole or not at all.

    Raises OutputError where the system refuses to write.
    """
    import av

    kind = "png" if Path(path).suffix.lower() == ".png" else "tiff"
    height, width, channels = array.shape
    given = np.ascontiguousarray(array[..., 0] if channels == 1 else array)
    frame = av.VideoFrame.from_ndarray(given, format=_FORMATS[channels])
    encoder = cast("av.VideoCodecContext", av.CodecContext.create(kind, "w"))
    encoder.width, encoder.height, encoder.time_base = width, height, Fraction(1)
    encoder.pix_fmt = _FORMATS[channels].replace("le", "be") if kind == "png" else frame.format.name
    packets = [*encoder.encode(frame.reformat(format=encoder.pix_fmt)), *encoder.encode(None)]
    write_whole(path, b"".join(bytes(packet) for packet in packets))


class _UnknownFormError(Exception):
    """What FFmpeg says of a form that it does not know."""


def _check_form(tags: Mapping[int, Any]) -> None:
    """Raises _UnknownFormError for what FFmpeg's decoder of TIFF takes for another form."""
    kinds = tags.get(Base.ExtraSamples, ())
    forms = {
        "it is stored in tiles": Base.TileWidth in tags,
        "its colours are multiplied by their opacity": 1 in kinds,
        "it has a band of an unknown kind": 0 in kinds,
        "it is CMYK": tags.get(Base.PhotometricInterpretation) == _CMYK,
    }
    if form := next((form for form, has in forms.items() if has), None):
        raise _UnknownFormError(form)


def _decoded(data: bytes, decoder: str) -> DeepPicture:
    import av
    from av.video.reformatter import VideoReformatter

    try:
        codec = cast("av.VideoCodecContext", av.CodecContext.create(decoder, "r"))
        frame = [*codec.decode(av.Packet(data)), *codec.decode(None)][0]
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise _UnknownFormError(f"FFmpeg says {error}") from error
    parts = frame.format.components
    if max(part.bits for part in parts) <= 8:
        raise _UnknownFormError(f"FFmpeg reads it as {frame.format.name}")
    channels = {1: 1, 2: 4, 3: 3, 4: 4}[len(parts)]  # gray with opacity has no format of NumPy's
    # By a converter of its own: see cyclegan.colour.rgb_from_picture.
    made = VideoReformatter().reformat(frame, format=_FORMATS[channels], threads=1)
    array = made.to_ndarray()
    return cast(DeepPicture, array.reshape(frame.height, frame.width, channels))


def _scaled(data: bytes, size: tuple[int, int], start: int, white: int) -> DeepPicture:
    """A PGM or PPM whose samples, at most ``white``, begin at ``start``: FFmpeg, whose scaling of
    them overflows, is told that they need none."""
    whole = b"%b %d %d 65535\n%b" % (data[:2], *size, data[start:])
    samples = np.minimum(_decoded(whole, "ppm"), white).astype(np.uint32)
    return ((samples * 65535 + white // 2) // white).astype(np.uint16)


def _upright(array: DeepPicture, orientation: int) -> DeepPicture:
    """``array`` as its file's EXIF orientation says, plane by plane, as Pillow has 16 bits."""
    if orientation not in TURNS:
        return array
    planes = (Image.fromarray(plane) for plane in np.moveaxis(array, 2, 0))
    return np.stack([np.asarray(upright(plane, orientation)) for plane in planes], axis=2)
