"""Convolutions between pictures, which have few channels, and activations, in half precision.

A GPU multiplies tiles of 8, 16 or 32 channels, and a CPU's matrix unit of 16: with the three of a
picture most of their work is on zeros, or they load them one by one. What is here gives what
``conv2d`` gives, in other steps.

N batch, C channels, H height, W width; O channels and K side of the result and of the kernel.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

CHANNELS = 4
"""A picture's channels become a multiple of this: 8 bytes of half precision, loaded at once."""
Block = tuple[int, int]
"""Height and width of the pixels that are computed together."""


def block_for(x: Tensor) -> Block:
    """The pixels to be computed together from ``x``, by its device and type.

    A CPU's convolution of 4 x 2 in bfloat16 is as slow as of single pixels where gradients flow.
    """
    return (4, 4) if x.device.type == "cpu" and x.dtype == torch.bfloat16 else (4, 2)


def with_zero_channels(x: Tensor) -> Tensor:
    """(N, C, H, W) with C made a multiple of CHANNELS, by zeros."""
    lacking = -x.shape[1] % CHANNELS
    return F.pad(x, (0, 0, 0, 0, 0, lacking)) if lacking else x


def conv_in_blocks(x: Tensor, weight: Tensor, bias: Tensor, block: Block) -> Tensor:
    """What ``conv2d`` makes of ``x`` with the weight and bias that :func:`for_blocks` was given.

    Its height and width must be multiples of ``block``. All pixels of a block are channels of one
    convolution that goes in steps of a block. For few O the zeros in its kernel cost less than what
    a tile that is too wide wastes.
    """
    down, right = block
    y = F.conv2d(x, weight, bias, stride=block).permute(0, 2, 3, 1)
    n, high, wide, channels = y.shape
    y = y.reshape(n, high, wide, down, right, channels // (down * right)).transpose(2, 3)
    return y.reshape(n, high * down, wide * right, y.shape[-1]).permute(0, 3, 1, 2)


def for_blocks(weight: Tensor, bias: Tensor, block: Block) -> tuple[Tensor, Tensor]:
    """(O, C, K, K) and (O) once for each of the P pixels of ``block``, the weight shifted to it.

    Returns (P O, C, K + height - 1, K + width - 1), channels last, and (P O).
    """
    (down, right), (count, channels, high, wide) = block, weight.shape
    large = (high + down - 1, wide + right - 1)
    zeros = weight.new_zeros((down, right, count, *large, channels))
    by_row, by_column, by_count, row, column, channel = zeros.stride()
    # The view [i, j, o, h, w, c] of these strides lies at [i, j, o, h + i, w + j, c].
    strides = (by_row + row, by_column + column, by_count, row, column, channel)
    size = (down, right, count, high, wide, channels)
    given = weight.permute(0, 2, 3, 1).expand(size)
    shifted = torch.as_strided_scatter(zeros, given, size, strides)
    return shifted.flatten(0, 2).permute(0, 3, 1, 2), bias.repeat(down * right)
