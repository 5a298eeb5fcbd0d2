"""Reflection padding of N, C, H, W tensors.

Forward copies: position i of the padded line reads n-1-|n-1-|i||, counted from the unpadded line's
start. It moves 2 T, T the bytes of the activation. On a GPU the layout stays that of ``x``, where
PyTorch always writes contiguous N, C, H, W.

Backward adds up each pixel's mirror images. Scattering needs atomics, whose order varies from run
to run; gathering does not: row h receives from h + top; from top - h if 1 <= h <= top; from
2 (H - 1) - h + top if H - 1 - bottom <= h <= H - 2; columns alike. That is one image inside, two at
edges, four at corners, up to nine in a tiny picture. Again 2 T.

N batch, C channels, H height, W width.
"""

import torch
from torch import Tensor, nn

from cyclegan.errors import TensorError
from cyclegan.kernels import launch
from cyclegan.kernels.reference import check_floating, pad_reference

Pad = int | tuple[int, int, int, int]


def reflection_pad2d(x: Tensor, pad: Pad) -> Tensor:
    """``x`` (N, C, H, W) mirrored beyond each side; edge pixels are not repeated.

    ``pad`` is one number of pixels, or (left, right, top, bottom); each at most its side less one.
    Raises TensorError, with the shapes, for more, and for numbers that are not floating.
    """
    pads = (pad,) * 4 if isinstance(pad, int) else pad
    check_floating("the input of reflection_pad2d", x)
    shape = launch.check_picture(x, "reflection_pad2d")
    if len(pads) != 4:
        raise TensorError(
            f"pad is {pads} for {tuple(shape)}; expected a number, or (left, right, top, bottom)"
        )
    launch.check_pads(shape, pads)
    left, right, top, bottom = pads
    if not launch.has_kernels(x):
        return pad_reference(x, left, right, top, bottom)
    padded: Tensor = torch.ops.cyclegan.reflection_pad.default(x, left, right, top, bottom)
    return padded


class ReflectionPad(nn.Module):
    """:func:`reflection_pad2d` as a module."""

    def __init__(self, pad: Pad) -> None:
        super().__init__()
        self.pad = pad

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H + top + bottom, W + left + right)."""
        return reflection_pad2d(x, self.pad)
