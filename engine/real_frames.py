"""Real pictures as frames, on which engines are compared with float32.

N batch, H height, W width, C channels. On noise, rounding differences are unlike those that anyone
will see.
"""

from pathlib import Path

import numpy as np

import cyclegan
from cyclegan.engine.frames import SMALLEST_SIDE, Frames

PICTURE = Path(cyclegan.__file__).parent / "models" / "check.jpg"
"""Two real frames of 256x256, side by side."""
MOST_SIDE = 512
"""Of pictures of one's own: a graph that is not optimised takes much memory for larger ones."""


def built_in_frames(channels: int, multiple: int) -> Frames:
    """The fixed real frames, uint8 (2, H, W, C), in sizes that the generator takes."""
    from PIL import Image

    with Image.open(PICTURE) as picture:
        both = np.asarray(picture.convert("RGB"))
    frames = np.stack(np.split(both, 2, axis=1))
    if channels != 3:
        grey = frames.mean(axis=3, keepdims=True).astype(np.uint8)
        frames = np.repeat(grey, channels, axis=3)
    return fitted(frames, *(-(-side // multiple) * multiple for side in frames.shape[1:3]))


def picture_frames(folder: Path, channels: int, multiple: int, most: int = 8) -> Frames:
    """The centres of the first pictures of ``folder``, in their median size: uint8 (N, H, W, C).

    Smaller ones are mirrored to it: one that is tiny does not make all of them so. At most
    ``MOST_SIDE`` a side, or where that is more ``multiple``. Raises DataError.
    """
    from cyclegan.engine.image_files import read_image
    from cyclegan.pictures import list_pictures

    pictures = [
        _centre(read_image(path, channels)[0], MOST_SIDE, MOST_SIDE).copy()  # the whole one goes
        for path in list_pictures(folder)[:most]
    ]
    sides = (sorted(picture.shape[i] for picture in pictures)[len(pictures) // 2] for i in (0, 1))
    least = -(-SMALLEST_SIDE // multiple) * multiple
    height, width = (max(side // multiple * multiple, least) for side in sides)
    return np.concatenate([fitted(picture[None], height, width) for picture in pictures])


def _centre(frames: Frames, height: int, width: int) -> Frames:
    """Of ``frames`` (..., H, W, C), no more than ``height`` and ``width``."""
    top = max(0, frames.shape[-3] - height) // 2
    left = max(0, frames.shape[-2] - width) // 2
    return frames[..., top : top + height, left : left + width, :]


def fitted(frames: Frames, height: int, width: int) -> Frames:
    """``frames`` (N, H, W, C), cropped to their centres or reflected, of this size."""
    frames = _centre(frames, height, width)
    below, right = height - frames.shape[1], width - frames.shape[2]
    return np.pad(frames, ((0, 0), (0, below), (0, right), (0, 0)), mode="symmetric")
