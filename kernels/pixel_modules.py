"""The conversions of ``pixels.py`` as modules: a generator between frames is one Sequential.

nn.Sequential(FramesToTensor(), generator, TensorToFrames())
"""

from typing import Literal

import torch
from torch import Tensor, nn

from cyclegan.kernels.pixels import (
    Matrix,
    frames_to_tensor,
    tensor_to_frames,
    tensor_to_yuv,
    yuv_to_tensor,
)


class FramesToTensor(nn.Module):
    """:func:`frames_to_tensor` as a module."""

    def __init__(self, dtype: torch.dtype = torch.float16) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 RGB (N, H, W, 3) -> (N, 3, H, W) in [-1, 1]."""
        return frames_to_tensor(frames, self.dtype)


class TensorToFrames(nn.Module):
    """:func:`tensor_to_frames` as a module."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1] -> uint8 RGB (N, H, W, 3)."""
        return tensor_to_frames(x)


class YuvToTensor(nn.Module):
    """:func:`yuv_to_tensor` as a module, for one coding of colours."""

    def __init__(
        self,
        *,
        matrix: Matrix = "bt709",
        full_range: bool = False,
        dtype: torch.dtype = torch.float16,
    ) -> None:
        super().__init__()
        self.matrix, self.full_range, self.dtype = matrix, full_range, dtype

    def forward(self, y: Tensor, uv: Tensor) -> Tensor:
        """Planes (N, H, W) and (N, H/2, W/2, 2) -> (N, 3, H, W) in [-1, 1]."""
        return yuv_to_tensor(
            y, uv, matrix=self.matrix, full_range=self.full_range, dtype=self.dtype
        )


class TensorToYuv(nn.Module):
    """:func:`tensor_to_yuv` as a module, for one coding of colours."""

    def __init__(
        self, *, bits: Literal[8, 10] = 8, matrix: Matrix = "bt709", full_range: bool = False
    ) -> None:
        super().__init__()
        self.bits, self.matrix, self.full_range = bits, matrix, full_range

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) in [-1, 1] -> planes (N, H, W) and (N, H/2, W/2, 2)."""
        return tensor_to_yuv(x, bits=self.bits, matrix=self.matrix, full_range=self.full_range)
