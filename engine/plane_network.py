"""The generator between pictures as decoders and encoders hold them.

N batch, H height, W width. What :mod:`cyclegan.engine.frame_graph` is to RGB frames; H and W may be
any even numbers, since what the generator cannot take is mirrored and cut off again here.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, dtype, nn

from cyclegan.kernels import reflection_pad2d, tensor_to_yuv, yuv_to_tensor


class PlanesToPlanes(nn.Module):
    """NV12 or P010 in, the same out."""

    def __init__(self, generator: Callable[[Tensor], Tensor], kind: dtype, multiple: int) -> None:
        """``generator`` takes (N, 3, H, W) in [-1, 1] of ``kind`` and gives the like; ``multiple``:
        what it wants H and W to be multiples of."""
        super().__init__()
        self.generator = generator
        self.kind, self.multiple = kind, multiple

    def forward(self, y: Tensor, uv: Tensor, **coding: Any) -> tuple[Tensor, Tensor]:
        """(N, H, W) and (N, H/2, W/2, 2) of uint8 or uint16 to the same; ``coding`` as there."""
        height, width = y.shape[1:]
        below, right = -height % self.multiple, -width % self.multiple
        x = yuv_to_tensor(y, uv, dtype=self.kind, **coding)
        if below or right:
            x = reflection_pad2d(x, (0, right, 0, below))
        z = self.generator(x)[:, :, :height, :width]
        return tensor_to_yuv(z, bits=8 if y.element_size() == 1 else 10, **coding)
