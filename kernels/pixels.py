"""Frames, as decoders and encoders hold them, to what a generator takes and back.

A frame of H x W pixels is 3 H W bytes of RGB, or 1.5 H W (NV12) and 3 H W (P010) of YUV; the tensor
is 6 H W bytes in half precision. One kernel each way reads one and writes the other, 9 H W, 7.5 H W
or 9 H W bytes in all; conversion, scaling and layout as separate operators move several times that.

YUV planes: luma (N, H, W) and interleaved chroma (N, H/2, W/2, 2), uint8 for NV12, and uint16 for
P010, whose 10 bits are the high ones. Colour: ITU-R BT.601, BT.709, BT.2020 (non-constant
luminance), section "signal format" of each. Chroma counts for its 2x2 pixels alike.

N batch, H height, W width. Tensors are (N, 3, H, W), RGB in [-1, 1], channels-last.
"""

from typing import Literal

import torch
from torch import Tensor

from cyclegan.errors import FrameError
from cyclegan.kernels import launch
from cyclegan.kernels.pixels_reference import (
    frames_to_tensor_reference,
    tensor_to_frames_reference,
    tensor_to_yuv_reference,
    yuv_to_tensor_reference,
)

Matrix = Literal["bt601", "bt709", "bt2020"]
LUMA_WEIGHTS: dict[Matrix, tuple[float, float]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
}
"""Weights of red and blue in luma; green's is what they leave of 1."""


def frames_to_tensor(frames: Tensor, dtype: torch.dtype = torch.float16) -> Tensor:
    """uint8 RGB (N, H, W, 3) -> (N, 3, H, W) in [-1, 1]. Raises FrameError for anything else."""
    if frames.dtype != torch.uint8 or frames.dim() != 4 or frames.shape[-1] != 3:
        raise FrameError(f"frames are {_seen(frames)}; expected uint8 (N, H, W, 3)")
    _check_dtype(dtype)
    if not launch.has_kernels(frames, torch.uint8):
        return frames_to_tensor_reference(frames, dtype)
    return torch.ops.cyclegan.frames_to_tensor.default(frames, dtype)  # type: ignore[no-any-return]


def tensor_to_frames(x: Tensor) -> Tensor:
    """(N, 3, H, W) in [-1, 1], clamped -> uint8 RGB (N, H, W, 3), rounded to nearest."""
    _check_tensor(x)
    if not launch.has_kernels(x):
        return tensor_to_frames_reference(x)
    return torch.ops.cyclegan.tensor_to_frames.default(x)  # type: ignore[no-any-return]


def yuv_to_tensor(
    y: Tensor,
    uv: Tensor,
    *,
    matrix: Matrix = "bt709",
    full_range: bool = False,
    dtype: torch.dtype = torch.float16,
) -> Tensor:
    """NV12 (uint8 planes) or P010 (uint16 planes) -> (N, 3, H, W) in [-1, 1]; H and W even.

    Colours outside RGB's cube are clamped. Raises FrameError for planes that do not fit together.
    """
    if y.dtype not in (torch.uint8, torch.uint16) or y.dim() != 3:
        raise FrameError(f"luma is {_seen(y)}; expected uint8 or uint16 (N, H, W)")
    n, height, width = y.shape
    _check_sizes(n, height, width)
    if uv.dtype != y.dtype or tuple(uv.shape) != (n, height // 2, width // 2, 2):
        raise FrameError(
            f"chroma is {_seen(uv)} beside luma {_seen(y)}; "
            f"expected {y.dtype} {(n, height // 2, width // 2, 2)}"
        )
    if uv.device != y.device:
        raise FrameError(f"luma is on {y.device}, chroma on {uv.device}; expected one device")
    _check_dtype(dtype)
    coding = _coding(matrix, full_range, 10 if y.dtype == torch.uint16 else 8)
    if not launch.has_kernels(y, torch.uint8, torch.uint16):
        return yuv_to_tensor_reference(y, uv, coding, dtype)
    return torch.ops.cyclegan.yuv_to_tensor.default(y, uv, coding, dtype)  # type: ignore[no-any-return]


def tensor_to_yuv(
    x: Tensor, *, bits: Literal[8, 10] = 8, matrix: Matrix = "bt709", full_range: bool = False
) -> tuple[Tensor, Tensor]:
    """(N, 3, H, W) in [-1, 1], H and W even -> planes of NV12 (``bits`` 8) or P010 (10)."""
    _check_tensor(x)
    _check_sizes(x.shape[0], x.shape[2], x.shape[3])
    if bits not in (8, 10):
        raise FrameError(f"bits is {bits}; expected 8 for NV12 or 10 for P010")
    coding, dtype = _coding(matrix, full_range, bits), torch.uint16 if bits == 10 else torch.uint8
    if not launch.has_kernels(x):
        return tensor_to_yuv_reference(x, coding, dtype)
    return torch.ops.cyclegan.tensor_to_yuv.default(x, coding, dtype)  # type: ignore[no-any-return]


def _coding(matrix: Matrix, full_range: bool, bits: int) -> list[float]:
    """(kr, kb, y_black, y_range, c_zero, c_range), codes counted in ``bits`` bits."""
    if matrix not in LUMA_WEIGHTS:
        raise FrameError(f"matrix is {matrix!r}; expected one of {', '.join(LUMA_WEIGHTS)}")
    unit = 1 << (bits - 8)
    last = float((1 << bits) - 1)
    levels = (0.0, last, last) if full_range else (16.0 * unit, 219.0 * unit, 224.0 * unit)
    black, y_range, c_range = levels
    return [*LUMA_WEIGHTS[matrix], black, y_range, 128.0 * unit, c_range]


def _seen(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _check_tensor(x: Tensor) -> None:
    if not x.dtype.is_floating_point or x.dim() != 4 or x.shape[1] != 3:
        raise FrameError(f"pictures are {_seen(x)}; expected floating (N, 3, H, W) in [-1, 1]")


def _check_dtype(dtype: torch.dtype) -> None:
    if dtype not in launch.DTYPES:
        raise FrameError(f"dtype is {dtype}; expected one of {', '.join(map(str, launch.DTYPES))}")


def _check_sizes(number: int, height: int, width: int) -> None:
    if height % 2 or width % 2:
        raise FrameError(f"pictures are {width}x{height}; YUV 4:2:0 needs even width and height")
    if number > launch.MAX_GRID or height * width >= launch.MAX_PIXELS:
        raise FrameError(
            f"{number} pictures of {width}x{height}; expected at most {launch.MAX_GRID} of fewer "
            f"than {launch.MAX_PIXELS} pixels: cut the batch, or the pictures, into smaller ones"
        )
