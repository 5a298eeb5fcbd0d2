"""Conversion between a video's pictures and what the generator takes: RGB frames, or planes.

As RGB, FFmpeg's scaler converts them on the CPU, whatever they are. As planes they become RGB on
the generator's device (:mod:`cyclegan.engine.planes`), where the video is of that kind.
"""

import functools
from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np

from cyclegan.colour import rgb_from_picture
from cyclegan.config import Depth
from cyclegan.engine.frames import Frames
from cyclegan.engine.layout import FromDecoded, Layout, Pixels
from cyclegan.engine.options import VideoOptions
from cyclegan.engine.planes import (
    FORMATS,
    PlaneLayout,
    Planes,
    picture_from_planes,
    planes_from_picture,
    why_not_planes,
)
from cyclegan.engine.translator import Translation, Translator
from cyclegan.errors import VideoError


class Conversion(Protocol):
    """What turns decoded pictures into what a translator takes, and back."""

    place: str
    """Where pictures become RGB and back."""
    convert: FromDecoded
    """Makes of decoded frames what ``submit`` takes."""

    def submit(self, pictures: "Sequence[Pixels]") -> Translation[Any]:
        """Start to translate pictures of one size."""

    def frame(self, made: Pixels) -> Frames:
        """A translated picture as RGB, (H, W, 3), to be looked at."""


def choose_conversion(
    translator: Translator, layout: Layout, result: str, options: VideoOptions, depth: Depth
) -> Conversion:
    """The conversion that ``options`` ask for, into the pixel format ``result``.

    Raises VideoError where pictures are asked to be converted on the device, and cannot be.
    """
    if options.convert == "cpu":
        return RgbConversion(translator, depth)
    if options.convert == "auto" and not is_gpu(translator.planes_on):
        return RgbConversion(translator, depth)
    reason = _why_not(translator, layout, result, options, depth)
    if reason is None:
        return PlaneConversion(translator, layout)
    if options.convert == "device":
        raise VideoError(
            f"pictures cannot be converted on the generator's device: {reason}; convert them with "
            "auto or cpu"
        )
    return RgbConversion(translator, depth)


def is_gpu(device: str | None) -> bool:
    """Whether ``device``, as PyTorch calls it, is a CUDA GPU."""
    return device is not None and device.startswith("cuda")


def _why_not(
    translator: Translator, layout: Layout, result: str, options: VideoOptions, depth: Depth
) -> str | None:
    if translator.planes_on is None:
        return f"{translator.description} takes RGB frames alone"
    if options.compare != "none":
        return "the result shows the source too"
    if options.part.size is not None:
        return "frames are scaled first"
    size, multiple = (layout.height, layout.width), translator.info.config.size_multiple
    return why_not_planes(layout.format.name, result, size, layout.colour, depth, multiple)


class RgbConversion:
    """RGB frames, converted on the CPU."""

    place = "the CPU"

    def __init__(self, translator: Translator, depth: Depth) -> None:
        self._translator = translator
        self.convert: FromDecoded = functools.partial(rgb_from_picture, depth=depth)

    def submit(self, pictures: "Sequence[Pixels]") -> Translation[Frames]:
        """One batch of them."""
        frames = cast("Sequence[Frames]", pictures)
        return self._translator.submit(np.stack(frames) if len(frames) > 1 else frames[0][None])

    def frame(self, made: Pixels) -> Frames:
        """They are RGB already."""
        return cast(Frames, made)


class PlaneConversion:
    """Planes, converted on the generator's device."""

    def __init__(self, translator: Translator, layout: Layout) -> None:
        device = translator.planes_on
        assert device is not None
        self._translator, self._colour = translator, layout.colour
        self.place = f"the generator's device, {device}"
        wanted = PlaneLayout(format=FORMATS[layout.format.name], colour=layout.colour)
        pinned = is_gpu(device)
        self.convert: FromDecoded = lambda picture, colour, size: planes_from_picture(
            picture, colour, wanted, pinned=pinned
        )

    def submit(self, pictures: "Sequence[Pixels]") -> "Translation[list[Planes]]":
        """One batch of them."""
        return self._translator.submit_planes(cast("Sequence[Planes]", pictures))

    def frame(self, made: Pixels) -> Frames:
        """Converted by FFmpeg's scaler, as a player would do it."""
        planes = cast(Planes, made)
        picture = picture_from_planes(planes, planes.format, self._colour)
        return rgb_from_picture(picture, self._colour)
