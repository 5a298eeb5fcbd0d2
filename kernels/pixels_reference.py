"""Frames to tensors and back in plain PyTorch. Arguments as in ``pixels.py``.

``coding`` is (kr, kb, y_black, y_range, c_zero, c_range): the luma weights of red and blue, and
what the codes of luma and chroma count from and span.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def frames_to_tensor_reference(frames: Tensor, dtype: torch.dtype) -> Tensor:
    """uint8 (N, H, W, 3) -> ``dtype`` (N, 3, H, W) in [-1, 1], channels-last."""
    x = frames.contiguous().to(torch.float32) * (2 / 255) - 1
    return x.to(dtype).permute(0, 3, 1, 2)


def tensor_to_frames_reference(x: Tensor) -> Tensor:
    """(N, 3, H, W) in [-1, 1] -> uint8 (N, H, W, 3), the nearest code."""
    value = (x.to(torch.float32) * 127.5 + 127.5).clamp(0, 255)
    return (value + 0.5).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def yuv_to_tensor_reference(
    y: Tensor, uv: Tensor, coding: Sequence[float], dtype: torch.dtype
) -> Tensor:
    """Planes (N, H, W) and (N, H/2, W/2, 2) -> ``dtype`` (N, 3, H, W) in [-1, 1], channels-last."""
    kr, kb, y_black, y_range, c_zero, c_range = coding
    luma = (_codes(y) - y_black) / y_range
    chroma = (_codes(uv) - c_zero) / c_range
    u, v = chroma.repeat_interleave(2, 1).repeat_interleave(2, 2).unbind(-1)
    r = luma + 2 * (1 - kr) * v
    b = luma + 2 * (1 - kb) * u
    g = (luma - kr * r - kb * b) / (1 - kr - kb)
    rgb = torch.stack([r, g, b], dim=-1).clamp(0, 1)
    return (2 * rgb - 1).to(dtype).permute(0, 3, 1, 2)


def tensor_to_yuv_reference(
    x: Tensor, coding: Sequence[float], dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """(N, 3, H, W) in [-1, 1] -> planes (N, H, W) and (N, H/2, W/2, 2) of uint8 or uint16."""
    kr, kb, y_black, y_range, c_zero, c_range = coding
    r, g, b = (x.to(torch.float32) * 0.5 + 0.5).clamp(0, 1).unbind(1)
    luma = kr * r + (1 - kr - kb) * g + kb * b
    chroma = torch.stack([(b - luma) / (2 * (1 - kb)), (r - luma) / (2 * (1 - kr))], dim=1)
    chroma = torch.nn.functional.avg_pool2d(chroma, 2).permute(0, 2, 3, 1)
    # Full range reaches half a step beyond the last code.
    uv = (chroma * c_range + c_zero + 0.5).clamp(max=2 * c_zero - 1)
    return _stored(luma * y_range + y_black + 0.5, dtype), _stored(uv, dtype)


def _codes(plane: Tensor) -> Tensor:
    codes = plane.contiguous().to(torch.int32)
    return (codes >> 6 if plane.dtype == torch.uint16 else codes).to(torch.float32)


def _stored(codes: Tensor, dtype: torch.dtype) -> Tensor:
    whole = codes.to(torch.int32)
    return (whole << 6 if dtype == torch.uint16 else whole).to(dtype).contiguous()
