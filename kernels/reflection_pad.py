"""Reflection padding of N, C, H, W tensors."""

import torch.nn.functional as F
from torch import Tensor


def reflection_pad2d(x: Tensor, pad: int) -> Tensor:
    """``x`` (N, C, H, W) mirrored ``pad`` pixels beyond each side; edge pixels are not repeated."""
    return F.pad(x, (pad, pad, pad, pad), mode="reflect")
