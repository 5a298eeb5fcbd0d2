"""Planes in front of a runner whose frames stay on the GPU.

N batch, H height, W width. Our kernels make RGB of the planes, and planes of the result, in the
memory and streams of PyTorch; between them a runner translates uint8 (N, H, W, 3) on the device.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from cyclegan.engine.plane_network import PlanesToPlanes
from cyclegan.engine.planes import Planes
from cyclegan.engine.runners.lanes import Begun, Lane
from cyclegan.kernels import frames_to_tensor, tensor_to_frames

TranslateOnDevice = Callable[[Tensor, int], Any]
"""(frames, the handle of a stream) -> translated frames there and in that stream, by DLPack."""


class PlaneSlots:
    """A slot for each of the ``translators``, which may be used at the same time."""

    def __init__(
        self, device: str, multiple: int, translators: Sequence[TranslateOnDevice]
    ) -> None:
        """``multiple``: what height and width of frames have to be multiples of."""
        self._lanes = [Lane(torch.device(device)) for _ in translators]
        self._networks = [
            PlanesToPlanes(functools.partial(_through, translate, lane), torch.float16, multiple)
            for translate, lane in zip(translators, self._lanes)
        ]
        self._begun: list[Begun | None] = [None] * len(translators)

    def begin(self, slot: int, pictures: Sequence[Planes]) -> None:
        """Start to translate pictures of one size and coding."""
        run = functools.partial(self._networks[slot], **pictures[0].coding)
        self._begun[slot] = self._lanes[slot].begin_planes(pictures, run)

    def finish(self, slot: int) -> list[Planes]:
        """Wait for the batch; its pictures in the host's memory."""
        begun, self._begun[slot] = self._begun[slot], None
        assert begun is not None, "finish without begin"
        return begun.planes()


def _through(translate: TranslateOnDevice, lane: Lane, x: Tensor) -> Tensor:
    """(N, 3, H, W) in [-1, 1], as frames through the runner and back."""
    return frames_to_tensor(from_dlpack(translate(tensor_to_frames(x), lane.handle)))
