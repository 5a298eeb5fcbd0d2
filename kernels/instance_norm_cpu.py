"""Instance norm on a CPU, by the C++ kernels beside this file, as registered operators.

Signatures and results are those of ``instance_norm_ops.py``; activations are channels
last, bfloat16 or float32.
"""

import torch
from torch import Tensor
from torch.library import custom_op

from cyclegan.kernels import launch, native
from cyclegan.kernels.instance_norm_derivatives import count_flops, differentiate
from cyclegan.kernels.reference import SLOPE

SLOPES = {"none": 1.0, "relu": 0.0, "leaky_relu": SLOPE}


@custom_op("cyclegan::instance_norm_cpu", mutates_args=(), device_types="cpu")
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
    z, padded, mean, rstd = _forward_results(x, pad, unpadded)
    if x.numel():
        kept = [_last(x, x), *_affine(x, weight, bias), _last(residual, x)]
        _run(
            "norm_forward",
            [*kept, z if unpadded or not pad else None, padded if pad else None, mean, rstd],
            x, pad, eps, SLOPES[activation],
        )  # fmt: skip
    return z, padded, mean, rstd


@custom_op("cyclegan::instance_norm_cpu_backward", mutates_args=(), device_types="cpu")
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
    dx, sums, dy = _backward_results(x, whole)
    if not x.numel():
        return dx, sums.zero_(), dy
    kept = [_last(dz, x), _last(dpadded, x), _last(x, x), mean, rstd, *_affine(x, weight, bias)]
    _run("norm_backward", [*kept, dx, dy if whole else None, sums], x, pad, SLOPES[activation])
    return dx, sums, dy


def _forward_results(x: Tensor, pad: int, unpadded: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    n, c, h, w = launch.sizes(x)
    z = launch.empty(x, h, w, True) if unpadded or not pad else x.new_empty(0)
    padded = launch.empty(x, h + 2 * pad, w + 2 * pad, True) if pad else x.new_empty(0)
    mean = x.new_empty((n, c), dtype=torch.float32)
    return z, padded, mean, torch.empty_like(mean)


def _backward_results(x: Tensor, whole: bool) -> tuple[Tensor, Tensor, Tensor]:
    n, c, h, w = launch.sizes(x)
    dy = launch.empty(x, h, w, True) if whole else x.new_empty(0)
    return launch.empty(x, h, w, True), x.new_empty((n, 2, c), dtype=torch.float32), dy


def _last(tensor: Tensor | None, like: Tensor) -> Tensor | None:
    # ``to`` alone would take a view with holes for channels last.
    last = torch.channels_last
    return None if tensor is None else tensor.to(like.dtype).contiguous(memory_format=last)


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """What the norm is scaled and shifted by, (C) float32 each."""
    c = x.shape[1]
    # What type and device are the default here is the user's to set.
    wide = torch.float32
    gamma = x.new_ones(c, dtype=wide) if weight is None else weight.to(wide).contiguous()
    beta = x.new_zeros(c, dtype=wide) if bias is None else bias.to(wide).contiguous()
    return gamma, beta


def _run(name: str, tensors: list[Tensor | None], x: Tensor, pad: int, *numbers: float) -> None:
    """The kernel of that name; its memory for sums is made here, where it may be refused."""
    n, c, h, w = x.shape
    work = x.new_empty((h, 2, c), dtype=torch.float32)
    pointers = [None if t is None else t.data_ptr() for t in (*tensors, work)]
    kind = str(x.dtype).removeprefix("torch.")
    run = getattr(native.library("instance_norm_cpu"), f"{name}_{kind}")
    # Asked for in the thread at hand: one that is new has OpenMP's own number until then.
    run(*pointers, n, c, h, w, pad, torch.get_num_threads(), *numbers)


@instance_norm_op.register_fake
def _forward_fake(x, weight, bias, residual, eps, activation, pad, unpadded):  # type: ignore[no-untyped-def]
    return _forward_results(x, pad, unpadded)


@instance_norm_backward_op.register_fake
def _backward_fake(dz, dpadded, x, mean, rstd, weight, bias, eps, activation, pad, whole):  # type: ignore[no-untyped-def]
    return _backward_results(x, whole)


differentiate(instance_norm_op, instance_norm_backward_op)
count_flops(torch.ops.cyclegan.instance_norm_cpu, torch.ops.cyclegan.instance_norm_cpu_backward)
