"""What a CycleGAN does outside its convolutions: instance norm, padding, pixels in and out.

Of its convolutions, on CPUs, those of 3x3 (:mod:`cyclegan.kernels.winograd_cpu`).
"""

import torch

from cyclegan.kernels import launch
from cyclegan.kernels.instance_norm import InstanceNormAct, instance_norm
from cyclegan.kernels.pixel_modules import (
    FramesToTensor,
    TensorToFrames,
    TensorToYuv,
    YuvToTensor,
)
from cyclegan.kernels.pixels import (
    frames_to_tensor,
    tensor_to_frames,
    tensor_to_yuv,
    yuv_to_tensor,
)
from cyclegan.kernels.reference import Activation, finish
from cyclegan.kernels.reflection_pad import ReflectionPad, reflection_pad2d

if launch.HAS_TRITON and torch.backends.cuda.is_built():  # type: ignore[no-untyped-call]
    # Not at the first call, which torch.compile may be tracing.
    launch.register_operators()

__all__ = [
    "Activation",
    "FramesToTensor",
    "InstanceNormAct",
    "ReflectionPad",
    "TensorToFrames",
    "TensorToYuv",
    "YuvToTensor",
    "finish",
    "frames_to_tensor",
    "instance_norm",
    "reflection_pad2d",
    "tensor_to_frames",
    "tensor_to_yuv",
    "yuv_to_tensor",
]
