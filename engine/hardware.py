"""NVIDIA's video decoder (NVDEC) and encoders (NVENC), through FFmpeg: whether they work here.

They are tried by opening them, since neither the GPU's name nor the driver's presence tells:
data-centre GPUs have decoders and no encoder.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from cyclegan.engine.gpus import nvidia_gpus
from cyclegan.errors import reason_of

Decoder = Literal["auto", "cpu", "nvdec"]
NVENC = ("h264_nvenc", "hevc_nvenc", "av1_nvenc")


@functools.cache
def why_no_nvdec() -> str | None:
    """Why no video can be decoded by NVDEC here, or None."""
    import av
    from av.codec.hwaccel import HWAccel, hwdevices_available

    if "cuda" not in hwdevices_available():
        return "this FFmpeg was built without CUDA; install PyAV's wheel from PyPI"
    try:
        HWAccel("cuda").create(av.Codec("h264", "r"))
    except (av.FFmpegError, NotImplementedError) as error:
        return _no_driver() or f"the GPU's decoder does not open ({reason_of(error)})"
    return None


@contextmanager
def context_of(device: str | None) -> Iterator[None]:
    """Within it PyTorch's context of a GPU, such as "cuda:0", is this thread's; None: nothing."""
    if device is None:
        yield
        return
    import torch

    with torch.cuda.device(device):
        torch.zeros(1, device=device)  # work: the device is chosen lazily
        yield


@functools.cache
def why_no_encoder(
    name: str, width: int = 640, height: int = 480, pixel_format: str = "yuv420p"
) -> str | None:
    """Why the encoder ``name`` cannot encode such frames here, or None; by opening it."""
    from fractions import Fraction

    import av

    if name not in av.codec.codecs_available:
        return "this FFmpeg has no such encoder; install PyAV's wheel from PyPI"
    context: Any = av.CodecContext.create(name, "w")
    context.width, context.height, context.pix_fmt = width, height, pixel_format
    context.time_base = Fraction(1, 25)
    try:
        context.open()
    except (av.FFmpegError, ValueError) as error:
        return _no_driver() or (
            f"it does not open for {width}x{height} frames in {pixel_format} "
            f"({reason_of(error)}); some GPUs, such as A100 and H100, have no encoder"
        )
    return None


def _no_driver() -> str | None:
    return None if nvidia_gpus() else "there is no NVIDIA GPU with a driver"
