"""Frames too large for memory, in pieces, with instance-norm statistics that are right.

N batch, H height, W width, C channels.

=============  ==============================================================================
``exact``      layer by layer over bands of rows: the untiled result to rounding; for residual
               generators
``thumbnail``  one pass over overlapping tiles, under the statistics of the frame made small
``frozen``     the same, under the statistics of the first frame, taken exactly where that can be
=============  ==============================================================================

The last two need memory for a tile and differ from the untiled result: a small picture has other
statistics than a large one, later frames have others than the first.
"""

import os
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cyclegan.config import ResnetConfig
from cyclegan.engine.frames import SMALLEST_SIDE, Frames
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

Tiles = Literal["exact", "thumbnail", "frozen"]
TILE = 512
"""Height and width of a tile in pixels; of very deep U-Nets the least above it that they take."""
OVERLAP = 96
"""Pixels that neighbouring tiles share; the one fades into the other there."""
_OUTER = OVERLAP // 3
"""Pixels of an overlap that saw mirrored surroundings: its outer third, which is dropped."""
THUMBNAIL = 512
"""The longer side of a thumbnail in pixels."""


def open_tiled(
    model: "str | os.PathLike[str] | Generator",
    mode: Tiles,
    *,
    tile: int | None = None,
    precision: Precision = "auto",
    device: str | None = None,
) -> Translator:
    """A translator that never has more than a part of a frame in the network.

    ``tile`` is the side of tiles in pixels; None: ``TILE``, or as large as they have to be. Raises
    ConfigError, ModelError; BackendError for a generator that ``mode`` cannot take.
    """
    source = open_source(model)
    settings = Settings(precision=precision, device=device)
    runner = DepthRunner(
        lambda depth: TiledRunner(source, replace(settings, depth=depth), mode, tile=tile),
        source.depths,
    )
    return Translator(runner, source.info, "torch")


class TiledRunner(OrderedRunner):
    """A generator that sees no more of a frame at once than it has memory for."""

    def __init__(
        self, source: Source, settings: Settings, mode: Tiles, *, tile: int | None = None
    ) -> None:
        """Raises ConfigError for a tile that its overlaps fill, BackendError."""
        super().__init__()
        import torch

        from cyclegan.engine.bands import BandedResnet
        from cyclegan.engine.statistics import with_statistics

        config = source.info.config
        self._multiple, self._channels = config.size_multiple, config.out_channels
        # Tiles begin at multiples too, and neighbours must meet where neither is dropped.
        least = max(2 * OVERLAP, self._multiple + 2 * _OUTER)
        if tile is None:
            tile = -(-max(TILE, least) // self._multiple) * self._multiple
        if tile < least or tile % self._multiple:
            raise ConfigError(
                f"got tiles of {tile} pixels; expected at least {least}, and a multiple of "
                f"{self._multiple}"
            )
        self._mode, self._tile = mode, tile
        self.remembers = mode == "frozen"
        generator, self._device, self._dtype = placed(source, settings)
        self._kind = torch.uint16 if settings.depth == 16 else torch.uint8
        residual = isinstance(config, ResnetConfig)
        self._banded = BandedResnet(generator) if mode == "exact" or residual else None
        if mode != "exact":
            self._generator, self._statistics = with_statistics(generator)
        self._frozen: tuple[int, ...] | None = None
        """The size of the frames whose statistics are kept."""
        self.description = f"PyTorch, {self._device}, {self._dtype}, {mode} tiles"

    def translate(self, frames: Frames) -> Frames:
        """One frame, (1, H, W, C), as the mode has it."""
        import torch

        with torch.inference_mode(), full_float32(self._dtype):
            if self._mode == "exact":
                assert self._banded is not None
                return self._frames(self._banded(self._tensor(frames)))
            if self._mode == "thumbnail" or self._frozen != frames.shape:
                self._measure(frames)
            return self._from_tiles(frames)

    def forget(self) -> None:
        self._frozen = None

    def _measure(self, frames: Frames) -> None:
        """Take and keep the statistics of a whole frame."""
        self._frozen = None  # nothing is kept until all is measured
        self._statistics.forget()
        self._statistics.begin()
        if self._mode == "frozen" and self._banded is not None:
            self._banded(self._tensor(frames))
            self._statistics.keep(self._banded.moments)
        else:
            self._statistics.share = 1.0
            self._generator(self._thumbnail(frames))
        self._statistics.share = 0.0
        self._frozen = frames.shape

    def _thumbnail(self, frames: Frames) -> "Tensor":
        import torch.nn.functional as F

        _, height, width, _ = frames.shape
        scale = min(1.0, THUMBNAIL / max(height, width))
        least = -(-SMALLEST_SIDE // self._multiple)  # of a long strip, whose own sides are no less
        size = [
            max(round(side * scale / self._multiple), least) * self._multiple
            for side in (height, width)
        ]
        whole = self._tensor(frames).float()
        small = F.interpolate(whole, size, mode="bilinear", antialias=True)
        return small.to(self._dtype)

    def _from_tiles(self, frames: Frames) -> Frames:
        _, height, width, _ = frames.shape
        total = np.zeros((height, width, self._channels), np.float32)
        weights = np.zeros((height, width, 1), np.float32)
        for top, rows in _places(height, self._tile, self._multiple):
            for left, columns in _places(width, self._tile, self._multiple):
                high, wide = len(rows), len(columns)
                piece = frames[:, top : top + high, left : left + wide]
                self._statistics.begin()
                made = self._frames(self._generator(self._tensor(piece)))[0]
                weight = (rows[:, None] * columns[None])[..., None]
                total[top : top + high, left : left + wide] += weight * made
                weights[top : top + high, left : left + wide] += weight
        blended: Frames = np.rint(total / weights).astype(frames.dtype)[None]
        return blended

    def _tensor(self, frames: Frames) -> "Tensor":
        import torch

        from cyclegan.engine.frame_graph import values_of_frames

        x = torch.from_numpy(np.ascontiguousarray(frames)).to(self._device)
        return values_of_frames(x, self._dtype)

    def _frames(self, y: "Tensor") -> Frames:
        from cyclegan.engine.frame_graph import frames_of_values

        frames: Frames = frames_of_values(y, self._kind).cpu().contiguous().numpy()
        return frames


def _places(length: int, tile: int, multiple: int) -> list[tuple[int, Any]]:
    """Where tiles begin along a side, and the weight of each of their pixels, float32."""
    if length <= tile:
        return [(0, np.ones(length, np.float32))]
    count = -(-(length - OVERLAP) // (tile - OVERLAP))
    starts = _starts(length, tile, multiple, count)
    # The large multiples of deep U-Nets can round neighbours too far apart to meet.
    while max(b - a for a, b in pairwise(starts)) > tile - 2 * _OUTER:
        count += 1
        starts = _starts(length, tile, multiple, count)
    # The outer third is dropped; in the middle third they cross over.
    middle = (np.arange(_OUTER, dtype=np.float32) + 1) / (_OUTER + 1)
    ramp = np.concatenate([np.zeros(_OUTER), middle, np.ones(OVERLAP - 2 * _OUTER)])
    places = []
    for start in starts:
        weight = np.ones(tile, np.float32)
        if start > 0:
            weight[:OVERLAP] = ramp
        if start < length - tile:
            weight[-OVERLAP:] = ramp[::-1]
        places.append((start, weight))
    return places


def _starts(length: int, tile: int, multiple: int, count: int) -> list[int]:
    """Where ``count`` tiles begin, as evenly as multiples allow."""
    return [round(n * (length - tile) / (count - 1) / multiple) * multiple for n in range(count)]
