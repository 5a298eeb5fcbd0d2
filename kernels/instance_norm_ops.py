# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""Instance norm as two registered operators, forward and backward, that torch.compile sees into.

Each function is its own fake implementation: it allocates and launches, and never looks at values.
On a CPU both compute the reference. Arguments as in ``instance_norm.py``. What an operator calls
stands before it: as it is registered, PyTorch looks there for its kernels.

A kernel gets x for every tensor that it does not use. A result must not be given twice: Inductor
would copy it before the kernel writes, since its old numbers might be read through the other name.
"""

from typing import Any

import torch
from torch import Tensor
from torch.library import triton_op

from cyclegan.kernels import launch
from cyclegan.kernels.instance_norm_derivatives import count_flops, differentiate
from cyclegan.kernels.instance_norm_triton import (
    in_apply,
    in_bwd_dx,
    in_bwd_reduce,
    in_merge,
    in_stats,
)
from cyclegan.kernels.instance_norm_whole_triton import in_whole
from cyclegan.kernels.launch import wrap_triton
from cyclegan.kernels.reference import norm_backward_reference, norm_forward_reference

CODES = {"none": 0, "relu": 1, "leaky_relu": 2}


def _stats(x: Tensor, last: bool) -> tuple[Tensor, int, int, bool]:
    """Moments of the splits of x: (partial, splits, pixels of a split, whether merged to one)."""
    n, c, h, w = launch.sizes(x)
    blocks = launch.blocks_for(x, h * w, last)
    splits, width = launch.cdiv(h * w, blocks.share), blocks.channels
    partial = x.new_empty((n, splits, 2, c), dtype=torch.float32)
    wrap_triton(in_stats)[(splits, launch.cdiv(c, width), n)](
        x, partial, h * w, blocks.share,
        C=c, P=blocks.pixels, BLOCK_C=width, CHANNELS_LAST=last, num_warps=blocks.warps,
    )  # fmt: skip
    if splits <= launch.INLINE_SPLITS:
        return partial, splits, blocks.share, False
    return _merge(partial, blocks.share, h * w, moments=True), 1, h * w, True


def _merge(partial: Tensor, share: int, pixels: int, moments: bool) -> Tensor:
    n, splits, _, c = partial.shape
    merged = partial.new_empty((n, 1, 2, c))
    width = min(8, launch.next_power_of_two(c))  # 32 bytes of float32: a sector
    wrap_triton(in_merge)[(launch.cdiv(c, width), n)](
        partial, merged, splits, share, pixels, C=c, BLOCK_C=width, MOMENTS=moments, num_warps=8
    )
    return merged


def _given(parameter: Tensor | None, x: Tensor) -> Tensor:
    """The numbers of a parameter side by side, as kernels read them; ``x`` for one that is not."""
    return x if parameter is None else parameter.contiguous()


@triton_op("cyclegan::instance_norm", mutates_args=())
def instance_norm_op(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    eps: float,
    activation: str,
    pad: int,
    unpadded: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(z, padded z, mean (N, C), rstd (N, C)); a z that is not asked for is empty."""
    if not launch.has_kernels(x):
        return norm_forward_reference(x, weight, bias, residual, eps, activation, pad, unpadded)  # type: ignore[arg-type]
    x, last = launch.dense(x)
    n, c, h, w = launch.sizes(x)
    write_z = unpadded or pad == 0
    none = x.new_empty(0)
    z = launch.empty(x, h, w, last) if write_z else none
    padded = launch.empty(x, h + 2 * pad, w + 2 * pad, last) if pad else none
    mean = x.new_empty((n, c), dtype=torch.float32)
    rstd = torch.empty_like(mean)
    if x.numel() == 0:
        return z, padded, mean, rstd
    gamma, beta = _given(weight, x), _given(bias, x)
    added = x if residual is None else launch.in_format(residual, last)
    out, padded_out = z if write_z else x, padded if pad else x
    whole = launch.whole_blocks(x, h * w, last)
    blocks = whole or launch.blocks_for(x, h * w, last)
    columns = launch.cdiv(c, blocks.channels)
    settings: dict[str, Any] = {
        "C": c, "P": blocks.pixels, "BLOCK_C": blocks.channels, "CHANNELS_LAST": last,
        "WEIGHT": weight is not None, "BIAS": bias is not None, "RESIDUAL": residual is not None,
        "ACTIVATION": CODES[activation], "Z": write_z, "PADDED": pad > 0, "num_warps": blocks.warps,
    }  # fmt: skip
    with launch.device_guard(x):
        if whole:
            wrap_triton(in_whole)[(columns, n)](
                x, gamma, beta, added, out, padded_out, mean, rstd, h, w, pad, eps, **settings
            )
            return z, padded, mean, rstd
        partial, splits, share, merged = _stats(x, last)
        grid = (launch.cdiv((h + 2 * pad) * (w + 2 * pad), blocks.share), columns, n)
        wrap_triton(in_apply)[grid](
            x, partial, gamma, beta, added, out, padded_out, mean, rstd,
            h, w, blocks.share, splits, share, pad, eps,
            ONE_TILE=blocks.one_tile, MERGED=merged, **settings,
        )  # fmt: skip
    return z, padded, mean, rstd


@triton_op("cyclegan::instance_norm_backward", mutates_args=())
def instance_norm_backward_op(
    dz: Tensor | None,
    dpadded: Tensor | None,
    x: Tensor,
    mean: Tensor,
    rstd: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    activation: str,
    pad: int,
    whole: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """(dx, sums (N, 2, C), dy): dy = dz + pad^T(dpadded) if ``whole``, else empty."""
    if not launch.has_kernels(x):
        dx, sums, dy = norm_backward_reference(
            dz, dpadded, x, mean, rstd, weight, bias, activation, pad  # type: ignore[arg-type]
        )  # fmt: skip
        return dx, sums, dy if whole else x.new_empty(0)
    x, last = launch.dense(x)
    n, c, h, w = launch.sizes(x)
    dx = launch.empty(x, h, w, last)
    dy = launch.empty(x, h, w, last) if whole else x.new_empty(0)
    sums = x.new_empty((n, 2, c), dtype=torch.float32)
    if x.numel() == 0:
        return dx, sums.zero_(), dy
    dz = None if dz is None else launch.in_format(dz, last)
    dpadded = None if dpadded is None else launch.in_format(dpadded, last)
    blocks = launch.blocks_for(x, h * w, last, backward=True, padded=dpadded is not None)
    splits, width = launch.cdiv(h * w, blocks.share), blocks.channels
    grid = (splits, launch.cdiv(c, width), n)
    partial = x.new_empty((n, splits, 2, c), dtype=torch.float32)
    gamma, beta = _given(weight, x), _given(bias, x)
    with launch.device_guard(x):
        wrap_triton(in_bwd_reduce)[grid](
            x if dz is None else dz, x if dpadded is None else dpadded,
            x, mean, rstd, gamma, beta, dy if whole else x, partial, h, w, blocks.share, pad,
            C=c, P=blocks.pixels, BLOCK_C=width, CHANNELS_LAST=last,
            WEIGHT=weight is not None, BIAS=bias is not None, ACTIVATION=CODES[activation],
            DZ=dz is not None, DPADDED=dpadded is not None, DY=whole, num_warps=blocks.warps,
        )  # fmt: skip
        if whole:  # the second pass reads one tensor instead of two
            dz, dpadded = dy, None
        if merged := splits > launch.INLINE_SPLITS:
            partial, splits = _merge(partial, blocks.share, h * w, moments=False), 1
        wrap_triton(in_bwd_dx)[grid](
            x if dz is None else dz, x if dpadded is None else dpadded,
            x, mean, rstd, gamma, beta, partial, dx, sums, h, w, blocks.share, splits, pad,
            C=c, P=blocks.pixels, BLOCK_C=width, CHANNELS_LAST=last,
            WEIGHT=weight is not None, BIAS=bias is not None, ACTIVATION=CODES[activation],
            DZ=dz is not None, DPADDED=dpadded is not None, ONE_TILE=blocks.one_tile,
            MERGED=bool(merged), num_warps=blocks.warps,
        )  # fmt: skip
    return dx, sums, dy


differentiate(instance_norm_op, instance_norm_backward_op)
count_flops(torch.ops.cyclegan.instance_norm, torch.ops.cyclegan.instance_norm_backward)
