"""Frames to tensors and back, for ``bench/kernels.py``: what is run, on what, and its bytes.

N batch, H height, W width. Tensors are float16 (N, 3, H, W) in [-1, 1], channels-last.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cyclegan.kernels import frames_to_tensor, tensor_to_frames, tensor_to_yuv, yuv_to_tensor


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """One conversion between a decoder's or encoder's frames and a generator's tensor."""

    run: Callable[..., Any]
    given: Callable[[int, int, int, str], tuple[Tensor, ...]]
    """From N, H, W and a device to what ``run`` takes."""
    bytes: float
    """Read and written a pixel (see ``kernels/pixels.py``): 6 of the tensor, the rest of frames."""


def _frames(n: int, h: int, w: int, device: str) -> tuple[Tensor, ...]:
    return (torch.randint(256, (n, h, w, 3), dtype=torch.uint8, device=device),)


def _tensor(n: int, h: int, w: int, device: str) -> tuple[Tensor, ...]:
    x = torch.rand((n, 3, h, w), device=device) * 2 - 1
    return (x.half().to(memory_format=torch.channels_last),)


def _nv12(n: int, h: int, w: int, device: str) -> tuple[Tensor, ...]:
    shapes = (n, h, w), (n, h // 2, w // 2, 2)
    return tuple(torch.randint(16, 236, s, dtype=torch.uint8, device=device) for s in shapes)


def _p010(n: int, h: int, w: int, device: str) -> tuple[Tensor, ...]:
    return tuple((plane.int() << 8).to(torch.uint16) for plane in _nv12(n, h, w, device))


PIXELS = {
    "frames to tensor": Pixels(run=frames_to_tensor, given=_frames, bytes=9),
    "tensor to frames": Pixels(run=tensor_to_frames, given=_tensor, bytes=9),
    "NV12 to tensor": Pixels(run=yuv_to_tensor, given=_nv12, bytes=7.5),
    "tensor to NV12": Pixels(run=tensor_to_yuv, given=_tensor, bytes=7.5),
    "P010 to tensor": Pixels(run=yuv_to_tensor, given=_p010, bytes=9),
    "tensor to P010": Pixels(run=functools.partial(tensor_to_yuv, bits=10), given=_tensor, bytes=9),
}
PICTURES = [(256, 256), (720, 1280)]
