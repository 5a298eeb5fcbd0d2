"""The frame-to-frame network: uint8 frames in, uint8 frames out.

N batch, H height, W width, C channels. Every engine runs this one function, whatever its backend,
so that a host needs no pixel code: frames uint8 (N, H, W, C) in [0, 255] go in, uint8 (N, H, W, C')
of the same H and W come out. H and W are multiples of the generator's ``size_multiple``.
"""

import torch
from torch import Tensor, nn


class FrameToFrame(nn.Module):
    """A generator between frames: x / 127.5 - 1 before it, (y + 1) * 127.5 after it."""

    def __init__(self, generator: nn.Module, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.generator = generator
        self.dtype = dtype

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 (N, H, W, C) -> uint8 (N, H, W, C'), rounded half to even and clamped."""
        # The casts stand outermost: TensorRT takes uint8 only at the edge of a graph, next to one.
        x = frames.to(self.dtype).permute(0, 3, 1, 2) / 127.5 - 1
        # Back to float32 first where the network runs in less: half a grey level is at stake.
        y: Tensor = self.generator(x).to(torch.float32)
        y = ((y + 1) * 127.5).round().clamp(0, 255)
        return y.permute(0, 2, 3, 1).to(torch.uint8)
