"""Steady videos: the statistics of instance norm are averaged over time.

H height, W width, C channels. Every frame's statistics move the output's colours a little; averaged
over the frames of a scene (exponentially, with ``steadiness`` for what was) they move less. A scene
cut begins anew. A frame that repeats the one before gets its translation again.

It costs fidelity where light or content really change fast, and runs in PyTorch.
"""

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cyclegan.engine.frames import Frames
from cyclegan.engine.model_source import Source, open_source
from cyclegan.engine.runners.depths import DepthRunner
from cyclegan.engine.runners.ordered import OrderedRunner
from cyclegan.engine.runners.placing import full_float32, placed
from cyclegan.engine.runners.settings import Precision, Settings
from cyclegan.engine.translator import Translator
from cyclegan.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from cyclegan.networks import Generator

STEADINESS = 0.9
DUPLICATE = 0.25
"""Mean absolute difference in grey levels up to which a frame repeats the one before."""
MOVED = 15.0
"""The same of a square, above which something has moved there; one white pixel in the dark is 16.

Squares of repeated frames differ by up to as much once they are encoded, even at a low quality.
"""
CUT = 28.0
"""Mean absolute difference in grey levels of thumbnails from which a new scene begins."""
_SQUARE = 4
"""Pixels of a square, across and down: the smallest that video codecs transform."""
_THUMBNAIL = 16
"""Pixels of a frame in one of a thumbnail, across and down."""


def open_stabilized(
    model: "str | os.PathLike[str] | Generator",
    *,
    steadiness: float = STEADINESS,
    precision: Precision = "auto",
    device: str | None = None,
) -> Translator:
    """A translator of videos with ``steadiness`` in [0, 1); frames in the order of submission.

    Raises ConfigError, ModelError; BackendError for generators without instance norm.
    """
    source = open_source(model)
    settings = Settings(precision=precision, device=device)
    runner = DepthRunner(
        lambda depth: StabilizedRunner(
            source, replace(settings, depth=depth), steadiness=steadiness
        ),
        source.depths,
    )
    return Translator(runner, source.info, "torch")


class StabilizedRunner(OrderedRunner):
    """A generator whose frames are translated in order, each with some memory of those before."""

    remembers = True

    def __init__(
        self, source: Source, settings: Settings, *, steadiness: float = STEADINESS
    ) -> None:
        """Raises ConfigError for a steadiness outside [0, 1), BackendError."""
        import torch

        from cyclegan.engine.frame_graph import FrameToFrame
        from cyclegan.engine.statistics import with_statistics

        super().__init__()
        if not 0 <= steadiness < 1:
            raise ConfigError(f"got the steadiness {steadiness}; expected 0 <= steadiness < 1")
        generator, self._device, dtype = placed(source, settings)
        self._dtype = dtype
        steadied, self._statistics = with_statistics(generator)
        self._network: Any = FrameToFrame(steadied, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._share = 1 - steadiness
        self.description = f"PyTorch, {self._device}, {dtype}, steadiness {steadiness:g}"
        self._seen: Frames | None = None
        self._made: Frames | None = None
        self.cuts = self.duplicates = 0

    def translate(self, frames: Frames) -> Frames:
        """One frame, (1, H, W, C), under statistics averaged with those of the frames before."""
        seen, self._seen = self._seen, frames
        if seen is None or seen.shape != frames.shape or _is_cut(seen, frames):
            self.cuts += seen is not None
            self._statistics.forget()
        elif self._made is not None and _repeats(seen, frames):
            self._seen = seen  # Slow fades must not pass as repetitions for ever.
            self.duplicates += 1
            return self._made
        self._made = None  # if this frame fails, one that repeats it must not get another's
        self._statistics.share = self._share
        self._statistics.begin()
        self._made = self._run(frames)
        return self._made

    def forget(self) -> None:
        self._seen = self._made = None

    def _run(self, frames: Frames) -> Frames:
        import torch

        with torch.inference_mode(), full_float32(self._dtype):
            batch: Tensor = torch.from_numpy(frames).to(self._device)
            # The copy back is where this thread waits for the device.
            made: Frames = self._network(batch).cpu().contiguous().numpy()
            return made


def _is_cut(before: Frames, after: Frames) -> bool:
    return float(np.abs(_thumbnail(before) - _thumbnail(after)).mean()) > CUT


def _repeats(before: Frames, after: Frames) -> bool:
    squares = _differences(before, after)
    return bool(squares.mean() <= DUPLICATE and squares.max() <= MOVED)


def _differences(x: Frames, y: Frames) -> NDArray[np.float64]:
    """Mean absolute differences in grey levels over squares of (1, H, W, C)."""
    difference = np.maximum(x, y) - np.minimum(x, y)
    _, height, width, channels = x.shape
    if height % _SQUARE or width % _SQUARE:
        missing = ((0, 0), (0, -height % _SQUARE), (0, -width % _SQUARE), (0, 0))
        difference = np.pad(difference, missing, "edge")
    _, height, width, _ = difference.shape
    # Rows first, which lie in one piece: sums over both at once take twice as long.
    rows = difference.reshape(height // _SQUARE, _SQUARE, -1).sum(1, dtype=np.uint32)
    sums = rows.reshape(len(rows), width // _SQUARE, -1).sum(2)
    means: NDArray[np.float64] = sums / (_SQUARE * _SQUARE * channels * _level(x))
    return means


def _level(frames: Frames) -> int:
    """What one grey level of 256 is in ``frames``."""
    return 1 if frames.dtype == np.uint8 else 257


def _thumbnail(frames: Frames) -> NDArray[np.int16]:
    """Grey levels of 256, means over squares of (1, H, W, C): motion counts little, another scene
    much."""
    _, height, width, channels = frames.shape
    side = min(_THUMBNAIL, height, width)
    rows, columns = height // side, width // side
    cut = frames[0, : rows * side, : columns * side]
    squares = cut.reshape(rows, side, columns, side, channels)
    means: NDArray[np.int16] = (squares.mean((1, 3)) / _level(frames)).round().astype(np.int16)
    return means
