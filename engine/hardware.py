"""NVIDIA's video decoder (NVDEC) and encoders (NVENC), through FFmpeg: whether they work here.

They are tried by opening them, since neither the GPU's name nor the driver's presence tells:
data-centre GPUs have decoders and no encoder.
"""

import functools
import logging
from typing import TYPE_CHECKING, Any, Literal

from cyclegan.engine.gpus import nvidia_gpus
from cyclegan.errors import VideoError

if TYPE_CHECKING:
    from av.codec.hwaccel import HWAccel

    from cyclegan.engine.sources import Input

Decoder = Literal["auto", "cpu", "nvdec"]
NVENC = ("h264_nvenc", "hevc_nvenc", "av1_nvenc")
_log = logging.getLogger(__name__)


def open_container(source: "Input", decoder: Decoder) -> Any:
    """PyAV's container for ``source``, its pictures decoded by ``decoder``.

    "auto" takes NVDEC where it opens, for codecs that it knows, and says in the log why not. Raises
    VideoError where "nvdec" cannot be had, and what PyAV raises.
    """
    import av
    from av.codec.hwaccel import HWAccel

    if decoder == "cpu":
        return _opened(source, None)
    reason = why_no_nvdec()
    if reason is not None:
        if decoder == "nvdec":
            raise VideoError(f"NVDEC cannot be used here: {reason}; decode with auto or cpu")
        _log.info("%s is decoded on the CPU: %s", source.name, reason)
        return _opened(source, None)
    try:
        return _opened(source, HWAccel("cuda", allow_software_fallback=decoder == "auto"))
    except RuntimeError as error:  # no stream of a codec that NVDEC has
        raise VideoError(
            f"NVDEC cannot decode {source.name}: {error}; decode with auto or cpu"
        ) from error
    except av.FFmpegError as error:
        if decoder == "nvdec":
            raise
        _log.warning("NVDEC does not open for %s: %s", source.name, _why(error))
        return _opened(source, None)


def _opened(source: "Input", accelerator: "HWAccel | None") -> Any:
    import av

    return av.open(
        source.url,
        format=source.format,
        options=dict(source.options),
        timeout=source.timeout,
        hwaccel=accelerator,
    )


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
        return _no_driver() or f"the GPU's decoder does not open ({_why(error)})"
    return None


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
            f"it does not open for {width}x{height} frames in {pixel_format} ({_why(error)}); some "
            "GPUs, such as A100 and H100, have no encoder"
        )
    return None


def _no_driver() -> str | None:
    return None if nvidia_gpus() else "there is no NVIDIA GPU with a driver"


def _why(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
