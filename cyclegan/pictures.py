"""Picture files to arrays and back.

H height, W width, C channels. Pictures are uint8 (H, W, C) in [0, 255], RGB for C = 3 and ITU-R
BT.601 luminance for C = 1. Every kind of file becomes that by one rule:

=====================  ==========================================================================
1-bit, grayscale       gray repeated in the three channels
12, 16-bit grayscale   0..4095, 0..65535 scaled to 0..255, rounded (never the low byte, or clipped)
16-bit colour          the upper 8 bits (:mod:`cyclegan.deep_pictures` reads all)
floating point         [0, 1] scaled to 0..255; any other range is an error
palette                its colours
alpha, transparency    laid over white
CMYK, YCbCr, LAB, HSV  converted to RGB without colour profiles
EXIF orientation       applied: the array stands upright
several frames         the first one
=====================  ==========================================================================

PostScript is refused: it is a program, which Pillow would give to Ghostscript.
"""

import contextlib
import logging
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from PIL.ExifTags import Base
from PIL.ImageFile import ImageFile

from cyclegan.errors import DataError, ImageError, OutputError, reason_of
from cyclegan.files import replacing

log = logging.getLogger(__name__)
Picture = npt.NDArray[np.uint8]
Channels = Literal[1, 3]

SUFFIXES = frozenset(
    ".bmp .gif .jfif .jpeg .jpg .pbm .pgm .png .pnm .ppm .tif .tiff .webp".split()  # noqa: SIM905
)
OTHERS = frozenset(".avif .dng .heic .heif .j2k .jp2 .jxl .tga".split())  # noqa: SIM905
"""Pictures too, which folders are not searched for: not every Pillow reads them."""

DAMAGE = Exception
"""What Pillow's decoders raise for damaged files: those in Python, whatever comes of the bytes."""
_WHITES = {"L;2": 3, "L;4": 15}
"""White as gray PNGs of few bits have it, by Pillow's names of how they are stored."""
_WHITE_IS_ZERO = 0
"""As TIFF's tag of the photometric interpretation has it."""
_UNFIT = (ValueError, OverflowError, struct.error)
"""What Pillow's encoders raise for pictures that their formats cannot hold."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What sets an image upright, by its EXIF orientation (Exif 2.32, section 4.6.4)."""


def read_picture(path: Path | str, channels: Channels = 3) -> Picture:
    """The picture at ``path`` as uint8 (H, W, channels), by the rules above.

    Raises ImageError, naming the file, if it is missing, truncated or not a picture.
    """
    return picture_from_image(open_image(path), channels)


def open_image(path: Path | str) -> Image.Image:
    """The file's image as it is, but upright and with 8 bits a channel. Raises ImageError."""
    try:
        with opened(path) as image:
            if image.format == "EPS":  # under any name; Pillow starts Ghostscript to load it
                raise ValueError("it is PostScript, a program, which is not run; make it a .png")
            if _in_deep_planes(image):
                raise ValueError(
                    "its 16-bit colours are stored in planes, which are read with a depth of 16 "
                    "alone; store it as a plain PNG"
                )
            _scale_clear_level(image)
            image.load()
            return _eight_bit(upright(whitened(image), orientation_of(image)))
    except DAMAGE as error:
        raise ImageError(f"cannot read {path} as a picture: {reason_of(error)}") from error


@contextlib.contextmanager
def opened(path: Path | str) -> Iterator[ImageFile]:
    """The image in a file, not decoded yet.

    Not by its name: then Pillow maps TIFFs that lie on their side into memory, with their sides
    exchanged, and turns that.
    """
    with Path(path).open("rb") as file:
        try:
            image = Image.open(file)
        except UnidentifiedImageError as error:
            raise UnidentifiedImageError("it is of no kind that Pillow knows") from error
        with image:
            yield image


def tags_of(image: Image.Image) -> Mapping[int, Any]:
    """What a TIFF says of its form; nothing of other files."""
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    return tags


def whitened(image: Image.Image) -> Image.Image:
    """``image``, its white 65535 if it is gray of 16 bits: of TIFFs Pillow gives the numbers, of 12
    bits too and of those whose white is 0, as they are."""
    tags = tags_of(image)
    if not (tags and image.mode.startswith("I;16")):
        return image
    white = 2 ** max(tags.get(Base.BitsPerSample, (16,))) - 1
    scaled = (np.asarray(image).astype(np.uint32) * 65535 + white // 2) // white
    if tags.get(Base.PhotometricInterpretation) == _WHITE_IS_ZERO:
        scaled = 65535 - scaled
    return Image.fromarray(scaled.astype(np.uint16))


def _in_deep_planes(image: ImageFile) -> bool:
    """Whether Pillow, which decodes compressed planes through libtiff, would take the numbers of 16
    bits for twice as many of 8."""
    tags = tags_of(image)
    in_planes = tags.get(Base.PlanarConfiguration) == 2
    is_plain = any(tile[0] == "raw" for tile in image.tile)
    return in_planes and is_plain and max(tags.get(Base.BitsPerSample, (1,))) > 8


def _scale_clear_level(image: ImageFile) -> None:
    """Pillow gives the pixels of PNGs, but for gray of 16 bits, in 8 bits, their transparent level
    or colour in the file's."""
    stored = image.tile[0].args if image.tile else None
    clear = image.info.get("transparency")
    if isinstance(stored, str) and stored in _WHITES and clear is not None:
        white = _WHITES[stored]
        # Bits above the file's, which Pillow writes, do not count (PNG, on tRNS).
        image.info["transparency"] = (clear & white) * 255 // white
    elif stored == "RGB;16B" and clear is not None:
        image.info["transparency"] = tuple(level >> 8 for level in clear)


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none, or none that can be read.

    Pillow loads some TIFFs upright: ask behind. Raises what loading raises, for PNGs.
    """
    if image.format == "PNG":
        image.load()  # Pillow would do so, for what lies behind the pixels; they must be whole
    try:
        orientation: int = image.getexif().get(Base.Orientation, 1)
    except DAMAGE:
        return 1
    return orientation


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """``image`` as ``orientation`` says, itself where that is 1 or unknown.

    Pillow's ``exif_transpose`` would also write the rest of the EXIF anew, and fail where that is
    not as it should be.
    """
    turn = TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _eight_bit(image: Image.Image) -> Image.Image:
    """``image`` without depths above 8 bits a channel."""
    if image.mode in ("P", "PA") and image.palette is None:
        raise ValueError("it has no palette for its colours")
    if image.mode.startswith("I"):
        wide = numbers_of(image).astype(np.int64)
        gray = Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))
        if (clear := image.info.get("transparency")) is not None:  # a level, of PNGs
            gray.putalpha(Image.fromarray(np.where(wide == clear, 0, 255).astype(np.uint8)))
        return gray
    if image.mode == "F":
        return Image.fromarray(np.rint(numbers_of(image) * 255).astype(np.uint8))
    return image


def numbers_of(image: Image.Image) -> npt.NDArray[Any]:
    """Those of an image in a mode of integers, white 65535, or of floats, white 1.

    Raises ValueError for numbers out of that range.
    """
    numbers = np.asarray(image)
    is_real = image.mode == "F"
    low, high = numbers.min(), numbers.max()
    if not (low >= 0 and high <= (1 if is_real else 65535)):
        got, expected = ("floats", "[0, 1]") if is_real else ("integers", "16-bit values")
        raise ValueError(f"{got} in [{low}, {high}]; expected {expected}")
    return numbers


def picture_from_image(image: Image.Image, channels: Channels = 3) -> Picture:
    """An image of 8 bits a channel as uint8 (H, W, channels), transparency laid over white."""
    if image.has_transparency_data:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over)
    if image.mode in ("LAB", "HSV"):
        image = image.convert("RGB")  # Pillow knows no other way from there, not to gray
    mode = "L" if channels == 1 else "RGB"
    # Converting to its own mode would copy it.
    picture = np.asarray(image if image.mode == mode else image.convert(mode))
    return picture.reshape(*picture.shape[:2], channels)


def list_pictures(folder: Path | str, suffixes: frozenset[str] = SUFFIXES) -> list[Path]:
    """All pictures under ``folder``, recursively, sorted by path, but for hidden ones.

    Links are followed; folders that cannot be read are named in the log, and so are kinds of
    pictures that are left out. Raises DataError if the folder is missing, is no folder, cannot be
    reached, or has no picture.
    """
    folder = Path(folder)
    try:
        is_folder, is_there = folder.is_dir(), folder.exists()
    except OSError as error:  # in a folder that is closed to us, or no name at all
        raise DataError(f"cannot read {folder}: {reason_of(error)}") from error
    if not is_folder:
        got = "is a file" if is_there else "does not exist"
        raise DataError(f"{folder} {got}; expected a folder of pictures")
    files = list(_files(folder))
    found = sorted(
        path for path in files if path.suffix.lower() in suffixes and may_be_picture(path)
    )
    if not found:
        raise DataError(
            f"no pictures under {folder}; looked, recursively, for {', '.join(sorted(suffixes))}"
        )
    if left := [suffix for path in files if (suffix := path.suffix.lower()) in OTHERS]:
        kinds = ", ".join(sorted(set(left)))
        log.warning(
            "%s: %d pictures (%s) are left out; convert them to .png", folder, len(left), kinds
        )
    return found


def may_be_picture(path: Path) -> bool:
    """Not a folder, and no pipe or device either, behind a link: reading that may never end.

    A link to nothing, or into a closed folder, is one: who reads it says what is wrong with it.
    """
    try:
        return path.is_file() or not path.exists()
    except OSError:
        return True


def _tell(error: OSError) -> None:
    log.warning("cannot read the folder %s: %s; it is left out", error.filename, reason_of(error))


def _files(folder: Path) -> Iterator[Path]:
    """All under ``folder`` but hidden ones, each folder once, whatever links lead to it."""
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, onerror=_tell, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in names if not name.startswith("."))


def write_picture(picture: Picture, path: Path | str) -> None:
    """Writes uint8 (H, W, 1 or 3) to ``path``; the suffix chooses the format.

    The file appears whole or not at all. Raises ImageError for another dtype or shape or an
    unknown suffix, OutputError where the system refuses to write.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] not in (1, 3):
        raise ImageError(
            f"cannot write {path}: got {picture.dtype} {picture.shape}; "
            "expected uint8 (height, width, 1 or 3)"
        )
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ImageError(
            f"cannot write {path}: unknown suffix {suffix!r}; known are "
            f"{', '.join(sorted(SUFFIXES))}"
        )
    image = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)
    save_image(image, path)


def save_image(image: Image.Image, path: Path | str) -> None:
    """Writes ``image``, as well as its suffix allows at a sensible size.

    Raises OutputError, also for what the format cannot hold, such as sides that are too long.
    """
    is_png = Path(path).suffix.lower() == ".png"
    options: dict[str, Any] = {"compress_level": 1} if is_png else {"quality": 95}
    with replacing(path) as temporary:
        try:
            image.save(temporary, **options)
        except _UNFIT as error:
            raise OutputError(
                f"cannot write {path}: {reason_of(error)}; another format, such as .png, may hold "
                f"its {image.width}x{image.height} pixels"
            ) from error
