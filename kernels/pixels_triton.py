# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"
# ruff: noqa: N803 (Triton spells constants in capitals)
"""Frames to tensors and back: the kernels and their registered operators. Ideas: ``pixels.py``."""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op

from cyclegan.kernels import launch
from cyclegan.kernels.launch import wrap_triton
from cyclegan.kernels.pixels_reference import (
    frames_to_tensor_reference,
    tensor_to_frames_reference,
    tensor_to_yuv_reference,
    yuv_to_tensor_reference,
)

BLOCK = 2048
"""Numbers of one program: 16 a thread, of which 16 bytes move at once."""
PIXELS = 256
"""Pixels, or 2x2 groups of them, of one program of the YUV kernels."""
RUN_TIME = ["numbers", "H", "W", "kr", "kb", "y_black", "y_range", "c_zero", "c_range"]


@triton.jit
def unit_from_byte(byte, kind: tl.constexpr):
    """0 to 255 as [-1, 1]."""
    return (byte.to(tl.float32) * (2 / 255) - 1).to(kind)


@triton.jit
def byte_from_unit(x):
    """[-1, 1] as the nearest of 0 to 255; what lies beyond is clamped."""
    value = tl.minimum(tl.maximum(x.to(tl.float32) * 127.5 + 127.5, 0), 255)
    return (value + 0.5).to(tl.uint8)


@triton.jit(do_not_specialize=RUN_TIME)
def unpack_frames(frames_ptr, x_ptr, numbers, BLOCK: tl.constexpr):
    """uint8 to [-1, 1]; both lie alike in memory, (N, H, W, 3). Whole blocks go without a mask."""
    start = tl.program_id(0).to(tl.int64) * BLOCK
    at = start + tl.arange(0, BLOCK)
    kind: tl.constexpr = x_ptr.dtype.element_ty
    if start + BLOCK <= numbers:
        tl.store(x_ptr + at, unit_from_byte(tl.load(frames_ptr + at), kind))
    else:
        mask = at < numbers
        tl.store(x_ptr + at, unit_from_byte(tl.load(frames_ptr + at, mask=mask), kind), mask=mask)


@triton.jit(do_not_specialize=RUN_TIME)
def pack_frames(x_ptr, frames_ptr, numbers, BLOCK: tl.constexpr):
    """[-1, 1] to uint8, likewise."""
    start = tl.program_id(0).to(tl.int64) * BLOCK
    at = start + tl.arange(0, BLOCK)
    if start + BLOCK <= numbers:
        tl.store(frames_ptr + at, byte_from_unit(tl.load(x_ptr + at)))
    else:
        mask = at < numbers
        tl.store(frames_ptr + at, byte_from_unit(tl.load(x_ptr + at, mask=mask)), mask=mask)


@triton.jit(do_not_specialize=RUN_TIME)
def unpack_yuv(
    y_ptr, uv_ptr, x_ptr, H, W, kr, kb, y_black, y_range, c_zero, c_range,
    SHIFT: tl.constexpr, P: tl.constexpr,
):  # fmt: skip
    """One pixel a lane: its luma, and the chroma of its 2x2 group."""
    n = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * P + tl.arange(0, P)
    mask = pixel < H * W
    group = (pixel // W // 2) * (W // 2) + pixel % W // 2
    uv_at = (n * (H // 2) * (W // 2) + group) * 2
    y = (tl.load(y_ptr + n * H * W + pixel, mask=mask, other=0).to(tl.int32) >> SHIFT) - y_black
    u = (tl.load(uv_ptr + uv_at, mask=mask, other=0).to(tl.int32) >> SHIFT) - c_zero
    v = (tl.load(uv_ptr + uv_at + 1, mask=mask, other=0).to(tl.int32) >> SHIFT) - c_zero
    luma = y / y_range
    r = luma + 2 * (1 - kr) * (v / c_range)
    b = luma + 2 * (1 - kb) * (u / c_range)
    g = (luma - kr * r - kb * b) / (1 - kr - kb)
    at = (n * H * W + pixel) * 3
    kind = x_ptr.dtype.element_ty
    tl.store(x_ptr + at, (2 * tl.minimum(tl.maximum(r, 0), 1) - 1).to(kind), mask=mask)
    tl.store(x_ptr + at + 1, (2 * tl.minimum(tl.maximum(g, 0), 1) - 1).to(kind), mask=mask)
    tl.store(x_ptr + at + 2, (2 * tl.minimum(tl.maximum(b, 0), 1) - 1).to(kind), mask=mask)


@triton.jit
def load_unit(ptr, at, mask):
    """A value of [-1, 1] as [0, 1], clamped."""
    x = tl.load(ptr + at, mask=mask, other=0).to(tl.float32)
    return tl.minimum(tl.maximum(x * 0.5 + 0.5, 0), 1)


@triton.jit(do_not_specialize=RUN_TIME)
def pack_yuv(
    x_ptr, y_ptr, uv_ptr, H, W, kr, kb, y_black, y_range, c_zero, c_range,
    SHIFT: tl.constexpr, P: tl.constexpr,
):  # fmt: skip
    """One 2x2 group a lane: four lumas, and the chroma of their mean."""
    n = tl.program_id(1).to(tl.int64)
    group = tl.program_id(0) * P + tl.arange(0, P)
    mask = group < (H // 2) * (W // 2)
    corner = n * H * W + (group // (W // 2)) * 2 * W + group % (W // 2) * 2
    kind = y_ptr.dtype.element_ty
    u = tl.zeros([P], tl.float32)
    v = tl.zeros([P], tl.float32)
    for row in tl.static_range(2):
        for column in tl.static_range(2):
            pixel = corner + row * W + column
            r = load_unit(x_ptr, pixel * 3, mask)
            g = load_unit(x_ptr, pixel * 3 + 1, mask)
            b = load_unit(x_ptr, pixel * 3 + 2, mask)
            luma = kr * r + (1 - kr - kb) * g + kb * b
            u += (b - luma) / (2 * (1 - kb)) / 4
            v += (r - luma) / (2 * (1 - kr)) / 4
            code = (luma * y_range + y_black + 0.5).to(tl.int32)
            tl.store(y_ptr + pixel, (code << SHIFT).to(kind), mask=mask)
    at = (n * (H // 2) * (W // 2) + group) * 2
    # Full range reaches half a step beyond the last code.
    top = 2 * c_zero - 1
    u = tl.minimum((u * c_range + c_zero + 0.5).to(tl.int32), top.to(tl.int32))
    v = tl.minimum((v * c_range + c_zero + 0.5).to(tl.int32), top.to(tl.int32))
    tl.store(uv_ptr + at, (u << SHIFT).to(kind), mask=mask)
    tl.store(uv_ptr + at + 1, (v << SHIFT).to(kind), mask=mask)


@triton_op("cyclegan::frames_to_tensor", mutates_args=())
def frames_to_tensor_op(frames: Tensor, dtype: torch.dtype) -> Tensor:
    """uint8 (N, H, W, 3) -> ``dtype`` (N, 3, H, W), channels-last."""
    if not launch.has_kernels(frames, torch.uint8):
        return frames_to_tensor_reference(frames, dtype)
    frames = frames.contiguous()
    x = frames.new_empty(frames.shape, dtype=dtype)
    if x.numel() > 0:
        with launch.device_guard(frames):
            wrap_triton(unpack_frames)[(launch.cdiv(x.numel(), BLOCK),)](
                frames, x, x.numel(), BLOCK=BLOCK
            )
    return x.permute(0, 3, 1, 2)


@triton_op("cyclegan::tensor_to_frames", mutates_args=())
def tensor_to_frames_op(x: Tensor) -> Tensor:
    """(N, 3, H, W) -> uint8 (N, H, W, 3)."""
    if not launch.has_kernels(x):
        return tensor_to_frames_reference(x)
    x = x.permute(0, 2, 3, 1).contiguous()
    frames = x.new_empty(x.shape, dtype=torch.uint8)
    if x.numel() > 0:
        with launch.device_guard(x):
            wrap_triton(pack_frames)[(launch.cdiv(x.numel(), BLOCK),)](
                x, frames, x.numel(), BLOCK=BLOCK
            )
    return frames


@triton_op("cyclegan::yuv_to_tensor", mutates_args=())
def yuv_to_tensor_op(y: Tensor, uv: Tensor, coding: list[float], dtype: torch.dtype) -> Tensor:
    """Planes (N, H, W) and (N, H/2, W/2, 2) -> ``dtype`` (N, 3, H, W), channels-last."""
    if not launch.has_kernels(y, torch.uint8, torch.uint16):
        return yuv_to_tensor_reference(y, uv, coding, dtype)
    n, h, w = y.shape
    x = torch.empty((n, h, w, 3), dtype=dtype, device=y.device)
    if x.numel() > 0:
        with launch.device_guard(y):
            wrap_triton(unpack_yuv)[(launch.cdiv(h * w, PIXELS), n)](
                y.contiguous(), uv.contiguous(), x, h, w, *coding,
                SHIFT=6 if y.dtype == torch.uint16 else 0, P=PIXELS,
            )  # fmt: skip
    return x.permute(0, 3, 1, 2)


@triton_op("cyclegan::tensor_to_yuv", mutates_args=())
def tensor_to_yuv_op(x: Tensor, coding: list[float], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(N, 3, H, W) -> planes (N, H, W) and (N, H/2, W/2, 2) of uint8 or uint16."""
    if not launch.has_kernels(x):
        return tensor_to_yuv_reference(x, coding, dtype)
    x = x.permute(0, 2, 3, 1).contiguous()
    n, h, w, _ = x.shape
    y = torch.empty((n, h, w), dtype=dtype, device=x.device)
    uv = torch.empty((n, h // 2, w // 2, 2), dtype=dtype, device=x.device)
    if x.numel() > 0:
        with launch.device_guard(x):
            wrap_triton(pack_yuv)[(launch.cdiv((h // 2) * (w // 2), PIXELS), n)](
                x, y, uv, h, w, *coding, SHIFT=6 if dtype == torch.uint16 else 0, P=PIXELS
            )
    return y, uv
