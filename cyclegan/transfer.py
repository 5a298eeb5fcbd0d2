"""Pictures on their way from the processes that read them to the device.

N batch, C channels, H height, W width.

Pictures travel as they were cut, with 8 or 16 bits a channel: a quarter or half of what floats
take. On a GPU's machine a thread moves them to pinned memory ahead of the steps, and the copy to
the device waits for nothing; mirroring and the conversion to floats happen there. The copy is
queued behind the step before, which the host runs ahead of, so that a stream of its own would save
only the microseconds that it takes.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cyclegan.errors import DataError
from cyclegan.sizes import size_text
from cyclegan.sources import Pixels


@dataclass(frozen=True)
class Cut:
    """A picture as it was cut."""

    pixels: Pixels
    """uint8 or uint16 (H, W, C)."""
    mirrored: bool = False
    """Whether the network is to see it mirrored."""


@dataclass(frozen=True)
class Batch:
    """Pictures of one size that go through a network together."""

    pixels: Pixels | Tensor
    """uint8 or uint16 (N, H, W, C): an array, or pinned."""
    mirrored: tuple[bool, ...]

    def pin_memory(self) -> "Batch":
        """In memory that a GPU reads without the host's help."""
        return dataclasses.replace(self, pixels=torch.as_tensor(self.pixels).pin_memory())

    def on(self, device: torch.device) -> Tensor:
        """float32 (N, C, H, W) in [-1, 1] on ``device``, channels last in memory."""
        pixels = torch.as_tensor(self.pixels).to(device, non_blocking=True)
        half = torch.iinfo(pixels.dtype).max / 2
        x = pixels.permute(0, 3, 1, 2).float()
        # A tensor, because CUDA would multiply by the reciprocal of a number.
        x = x.div_(x.new_full((), half)).sub_(1)
        for picture, mirrored in zip(x, self.mirrored, strict=True):
            if mirrored:
                picture.copy_(picture.flip(-1))
        return x


def batch_from_cuts(cuts: Sequence[Cut]) -> Batch:
    """Raises DataError where sizes differ."""
    sizes = {cut.pixels.shape[:2] for cut in cuts}
    if len(sizes) > 1:
        raise DataError(
            f"pictures of {', '.join(map(size_text, sorted(sizes)))} pixels do not fit one batch; "
            "set batch_size to 1 or choose a preprocess that crops"
        )
    return Batch(np.stack([cut.pixels for cut in cuts]), tuple(cut.mirrored for cut in cuts))
