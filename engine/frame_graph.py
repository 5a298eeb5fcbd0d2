"""The frame-to-frame network: frames in, frames out.

N batch, H height, W width, C channels. Every engine runs this one function, whatever its backend,
so that a host needs no pixel code: frames (N, H, W, C) go in, frames (N, H, W, C') of the same H
and W and the same type come out. H and W are multiples of the generator's ``size_multiple``. Frames
are uint8 in [0, 255], or uint16 in [0, 65535], which films of more than 8 bits need: the largest
value is white in both, so uint8 v and uint16 257 v are one colour. On a GPU one kernel each way
converts RGB of 8 bits; elsewhere, and in what is exported, PyTorch's operators do.
"""

import torch
from torch import Tensor, nn

from cyclegan.config import GeneratorConfig, ResnetConfig
from cyclegan.kernels import frames_to_tensor, launch, tensor_to_frames

_LARGEST = {torch.uint8: 255, torch.uint16: 65535}


class FrameToFrame(nn.Module):
    """A generator between frames, white being w: x / (w / 2) - 1 before it, (y + 1) w / 2 after.

    With ``flat_as_zero`` channels of one value are 0 before it, for generators that take away
    constants before anything else: a frame of one colour stays one in every engine then. Of other
    constants float32 means take away nearly all, and each norm makes what is left up to 316 times
    larger, 1 / sqrt(eps): noise.
    """

    def __init__(
        self,
        generator: nn.Module,
        dtype: torch.dtype = torch.float32,
        *,
        flat_as_zero: bool = False,
    ) -> None:
        super().__init__()
        self.generator = generator
        self.dtype = dtype
        self.flat_as_zero = flat_as_zero

    def forward(self, frames: Tensor) -> Tensor:
        """(N, H, W, C) -> (N, H, W, C') of the same type, rounded half to even and clamped."""
        x = values_of_frames(frames, self.dtype)
        if self.flat_as_zero:
            x = x * (x.amax((2, 3), keepdim=True) > x.amin((2, 3), keepdim=True))
        y: Tensor = self.generator(x)
        return frames_of_values(y, frames.dtype)


def takes_away_constants(config: GeneratorConfig) -> bool:
    """Whether a generator gives the same for x and x + c: its borders mirror, and a norm follows
    its first convolution that leaves nothing of a constant."""
    return isinstance(config, ResnetConfig) and config.norm == "instance"


def values_of_frames(frames: Tensor, dtype: torch.dtype) -> Tensor:
    """``dtype`` (N, C, H, W) in [-1, 1] of uint8 or uint16 (N, H, W, C)."""
    half = _LARGEST[frames.dtype] / 2
    if frames.shape[-1] == 3 and launch.has_kernels(frames, torch.uint8):
        return frames_to_tensor(frames, dtype)
    if frames.dtype == torch.uint16:
        # float16 ends below 65535, and bfloat16 has 256 levels where there are 65536.
        return (frames.to(torch.float32).permute(0, 3, 1, 2) / half - 1).to(dtype)
    # The casts stand outermost: TensorRT takes uint8 only at the edge of a graph, next to one.
    return frames.to(dtype).permute(0, 3, 1, 2) / half - 1


def frames_of_values(y: Tensor, dtype: torch.dtype) -> Tensor:
    """``dtype``, uint8 or uint16, (N, H, W, C), of values in [-1, 1] (N, C, H, W)."""
    largest = _LARGEST[dtype]
    if dtype == torch.uint8 and y.shape[1] == 3 and launch.has_kernels(y):
        return tensor_to_frames(y)
    # Back to float32 first where the network runs in less: half a grey level is at stake.
    y = ((y.to(torch.float32) + 1) * (largest / 2)).round().clamp(0, largest)
    return y.permute(0, 2, 3, 1).to(dtype)
