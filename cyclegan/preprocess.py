"""Pictures scaled and cropped to what a network takes.

H height, W width, C channels. Pictures are uint8 or uint16 (H, W, C).

=====================  ==================================  =====================================
preprocess             training                            testing
=====================  ==================================  =====================================
resize_and_crop        to load_size^2, random crop         to crop_size^2
crop                   random crop                         centre crop
scale_width            to load_size wide                   the same
scale_width_and_crop   to load_size wide, random crop      to crop_size wide, centre crop
none                   as it is                            the same
=====================  ==================================  =====================================

Scaling is bicubic. Scaling to a width keeps the aspect ratio but never falls below the crop's
height: wide pictures are stretched, as by the public implementation. Where nothing is cropped,
sides are rounded to multiples of what the network needs (4).
"""

import dataclasses

import numpy as np
from PIL import Image

from cyclegan.config import DataConfig
from cyclegan.deep_pictures import PEAKS
from cyclegan.errors import ImageError
from cyclegan.sizes import MOST_PIXELS, Size, short_size_text, size_text
from cyclegan.sources import Item, Pixels, read_item
from cyclegan.transfer import Cut

_STRETCHED = 1.05
"""Times its height from which a picture is told to be stretched."""


def _scaled_size(size: Size, config: DataConfig) -> Size:
    """What a picture of ``size`` is scaled to, before sides are rounded."""
    if config.preprocess == "resize_and_crop":
        return config.loaded
    if not config.preprocess.startswith("scale_width"):
        return size
    height, width = size
    if width == config.load_size and height >= config.cropped[0]:
        return size
    return int(max(config.load_size * height / width, config.cropped[0])), config.load_size


def scale(
    picture: Pixels,
    config: DataConfig,
    multiple: int = 4,
    smallest: int = 1,
    name: Item | str = "the picture",
) -> Pixels:
    """``picture`` resized as ``config`` says; sides that no crop will fit are rounded.

    Raises ImageError, naming it, where that scales it to more than ``MOST_PIXELS``, or leaves one
    of those sides with less than ``smallest`` pixels.
    """
    height, width = _scaled_size(picture.shape[:2], config)
    if not config.crops:
        height, width = (max(1, round(side / multiple)) * multiple for side in (height, width))
        if min(height, width) < smallest:
            raise ImageError(
                f"{name} is {size_text(picture.shape[:2])} pixels, and is taken at "
                f"{size_text((height, width))}; the networks take sides of at least {smallest}; "
                "choose preprocess 'resize_and_crop', or leave it out"
            )
    if (height, width) == picture.shape[:2]:
        return picture
    if height * width > MOST_PIXELS and config.preprocess != "none":
        raise ImageError(
            f"{name} is {size_text(picture.shape[:2])} pixels, and would be scaled to "
            f"{size_text((height, width))}; expected at most {MOST_PIXELS:,} pixels; lower "
            "load_size"
        )
    if picture.dtype == np.uint8 and picture.shape[2] in (1, 3):
        return _resized(picture, (height, width)).reshape(height, width, -1)
    planes = [_resized(plane, (height, width)) for plane in picture.transpose(2, 0, 1)]
    return np.stack(planes, axis=2)


def _resized(pixels: Pixels, size: Size) -> Pixels:
    """uint8 (H, W, 1 or 3), or a plane (H, W) of any type, at ``size``, bicubic."""
    height, width = size
    bicubic = Image.Resampling.BICUBIC
    if pixels.ndim == 3:
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        return np.asarray(image.resize((width, height), bicubic))
    plane = Image.fromarray(pixels.astype(np.float32)).resize((width, height), bicubic)
    peak = PEAKS[pixels.dtype.type]
    rounded: Pixels = np.rint(np.asarray(plane)).clip(0, peak)
    return rounded.astype(pixels.dtype)


def _room(picture: Pixels, config: DataConfig, path: Item) -> Size:
    """How far down and right the crop may start."""
    height, width = picture.shape[:2]
    high, wide = config.cropped
    if height < high or width < wide:
        raise ImageError(
            f"{path} is {size_text((height, width))} pixels, smaller than crop_size "
            f"{short_size_text(config.cropped)}; "
            "lower crop_size or choose preprocess 'resize_and_crop'"
        )
    return height - high, width - wide


def _cut(picture: Pixels, top: int, left: int, config: DataConfig) -> Pixels:
    high, wide = config.cropped
    return picture[top : top + high, left : left + wide]


def augmented(
    path: Item,
    config: DataConfig,
    rng: np.random.Generator,
    channels: int = 3,
    multiple: int = 4,
    smallest: int = 1,
) -> Cut:
    """The picture at ``path``, scaled and randomly cropped; every other one is to be mirrored.

    Raises ImageError where it cannot be read, is too small, or would become too large.
    """
    picture = scale(read_item(path, channels, config.depth), config, multiple, smallest, path)
    if config.crops:
        down, right = _room(picture, config, path)
        top, left = rng.integers(down + 1), rng.integers(right + 1)
        picture = _cut(picture, int(top), int(left), config)
    return Cut(picture, config.flip and rng.random() < 0.5)


def plain(
    path: Item, config: DataConfig, channels: int = 3, multiple: int = 4, smallest: int = 1
) -> Pixels:
    """The picture at ``path`` as a network sees it when tested, without chance.

    (H, W, C) of ``config.depth`` bits. Raises ImageError as ``augmented`` does.
    """
    if config.crops:
        height, width = config.cropped
        config = dataclasses.replace(config, load_size=width, load_height=height)
    picture = scale(read_item(path, channels, config.depth), config, multiple, smallest, path)
    if config.crops:
        top, left = (room // 2 for room in _room(picture, config, path))
        picture = _cut(picture, top, left, config)
    return picture


def stretched(path: Item, config: DataConfig, channels: int = 3) -> str | None:
    """In words, how the picture at ``path`` loses its shape to the height of a crop, if it does.

    Raises ImageError where it cannot be read.
    """
    if not config.preprocess.startswith("scale_width"):
        return None
    size = read_item(path, channels, config.depth).shape[:2]
    height, width = _scaled_size(size, config)
    times = height / width * size[1] / size[0]
    if times < _STRETCHED:
        return None
    return (
        f"{path} is {size_text(size)} pixels, and is stretched to {times:.2f} times its height: "
        f"{width} wide (load_size) it would be lower than a crop, {height}; raise load_size, or "
        "lower crop_height, to keep its shape"
    )


def manner(config: DataConfig) -> str:
    """What ``plain`` heeds of ``config``, but for the depth: pictures of two do not compare."""
    if config.crops:
        return f"{config.preprocess} to {size_text(config.cropped)}"
    if config.preprocess == "scale_width":
        return f"scale_width to {config.load_size}, at least {config.cropped[0]} high"
    return config.preprocess
