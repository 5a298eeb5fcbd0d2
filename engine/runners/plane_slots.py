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

from cyclegan.engine.planes import Planes
from cyclegan.engine.runners.lanes import Begun, Lane
from cyclegan.engine.runners.replays import Tensors
from cyclegan.kernels import (
    frames_to_tensor,
    reflection_pad2d,
    tensor_to_frames,
    tensor_to_yuv,
    yuv_to_tensor,
)

OnDevice = Callable[[Tensor, int], Any]
"""(frames, the handle of a stream) -> translated frames there and in that stream, by DLPack."""


class PlaneSlots:
    """A slot for each of the ``translators``, which may be used at the same time."""

    def __init__(self, device: str, multiple: int, translators: Sequence[OnDevice]) -> None:
        """``multiple``: what height and width of frames have to be multiples of."""
        self._multiple, self._translators = multiple, translators
        self._lanes = [Lane(torch.device(device)) for _ in translators]
        self._begun: list[Begun | None] = [None] * len(translators)

    def begin(self, slot: int, pictures: Sequence[Planes]) -> None:
        """Start to translate pictures of one size and coding."""
        run = functools.partial(self._run, slot, pictures[0].coding)
        self._begun[slot] = self._lanes[slot].begin_planes(pictures, run)

    def finish(self, slot: int) -> list[Planes]:
        """Wait for the batch; its pictures in the host's memory."""
        begun, self._begun[slot] = self._begun[slot], None
        assert begun is not None, "finish without begin"
        return begun.planes()

    def _run(self, slot: int, coding: dict[str, Any], y: Tensor, uv: Tensor) -> Tensors:
        height, width = y.shape[1:]
        pads = (0, -width % self._multiple, 0, -height % self._multiple)
        x = yuv_to_tensor(y, uv, **coding)
        frames = tensor_to_frames(reflection_pad2d(x, pads) if any(pads) else x)
        made = from_dlpack(self._translators[slot](frames, self._lanes[slot].handle))
        return tensor_to_yuv(frames_to_tensor(made)[:, :, :height, :width], **coding)
