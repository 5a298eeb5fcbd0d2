"""Instance norm with what follows it in a CycleGAN: activation, residual sum, reflection pad.

Each of these does next to no arithmetic: time goes into moving activations through memory. With T
the bytes of one activation, PyTorch's operators move about 5 T for norm and activation, 2 T more
for a pad, and 4 T more where they fall out of the channels-last layout that convolutions run in.
The least is 2 T: read once, write once. Two kernels move 3 T, since the first must read everything
before the second can normalise anything:

    in_stats        T      mean and M2 over H x W, in splits, so that a single image fills a GPU
    in_apply       2 T     normalise, activate; pads as it writes          (+ T with a residual,
                                                                            + T for z beside pad(z))
    in_whole       2 T     both, where one program holds an image's channels in registers: up to
                           64 x 64 pixels, where launches cost more than bytes (+ as in_apply)
    in_bwd_reduce  2 T     S1 = sum g, S2 = sum g x^                       (+ T writes dy, where a
                                                                            residual wants it)
    in_bwd_dx      3 T     dx = gamma rstd (g - S1 / HW - x^ S2 / HW)

On a CPU kernels in C++ do the same in bfloat16 and float32 (``instance_norm_cpu.cpp``).

Backward recomputes x^ and the activation's sign from x; it keeps x, mean and rstd alone.

N batch, C channels, H height, W width.
"""

import math
from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import Tensor, nn

from cyclegan.errors import TensorError
from cyclegan.kernels import instance_norm_cpu, launch, native
from cyclegan.kernels.reference import Activation, check_floating, norm_reference

ACTIVATIONS = get_args(Activation)
_LEAST_EPS = torch.finfo(torch.float32).tiny


def instance_norm(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    eps: float = 1e-5,
    activation: Activation = "none",
    residual: Tensor | None = None,
    pad: int = 0,
    unpadded: bool = False,
) -> Any:
    """Instance norm (Ulyanov et al. 2016), then activation, ``+ residual``, reflection pad.

    ``x`` is floating, (N, C, H, W) with H W > 1; ``weight`` and ``bias`` (C) scale and shift when
    given; ``residual`` has the shape of ``x``. They are floating, each in a dtype of its own.
    ``eps``, above 0 also as float32, is added to the biased variance over H and W. Statistics are
    float32 for half precision, whatever autocast says.

    Returns (N, C, H + 2 pad, W + 2 pad) in the dtype of ``x``, or with ``unpadded`` the pair of
    (N, C, H, W) and that; with no pad both are one tensor. On a GPU the layout is that of ``x``:
    channels-last or contiguous, and channels-last for other strides.

    Raises TensorError, with the shapes, for anything else than this.
    """
    _check(x, weight, bias, activation, residual, pad)
    if not _LEAST_EPS <= eps < math.inf:  # with 0 a channel of one value would have no result
        raise TensorError(
            f"eps is {eps}; expected a finite number above 0, and as float32: from {_LEAST_EPS:.2e}"
        )
    if launch.has_kernels(x):
        operator: Any = torch.ops.cyclegan.instance_norm.default
    elif native.has_norm_kernels(x):
        operator = instance_norm_cpu.instance_norm_op
    else:
        return norm_reference(x, weight, bias, eps, activation, residual, pad, unpadded)
    z, padded, _, _ = operator(x, weight, bias, residual, eps, activation, pad, unpadded)
    if pad == 0:
        return (z, z) if unpadded else z
    return (z, padded) if unpadded else padded


class InstanceNormAct(nn.Module):
    """:func:`instance_norm` as a module; with ``affine`` it owns ``weight`` and ``bias``."""

    def __init__(
        self,
        channels: int,
        *,
        eps: float = 1e-5,
        affine: bool = False,
        activation: Activation = "none",
        pad: int = 0,
    ) -> None:
        super().__init__()
        self.weight: nn.Parameter | None
        self.bias: nn.Parameter | None
        self.eps, self.activation, self.pad = eps, activation, pad
        self.register_parameter("weight", nn.Parameter(torch.ones(channels)) if affine else None)
        self.register_parameter("bias", nn.Parameter(torch.zeros(channels)) if affine else None)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """(N, C, H, W) -> (N, C, H + 2 pad, W + 2 pad)."""
        result: Tensor = instance_norm(
            x,
            self.weight,
            self.bias,
            eps=self.eps,
            activation=self.activation,
            residual=residual,
            pad=self.pad,
        )
        return result


def _check(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    activation: str,
    residual: Tensor | None,
    pad: int,
) -> None:
    shape = launch.check_picture(x, "instance_norm")
    check_floating("the input of instance_norm", x)
    if shape[2] * shape[3] <= 1:
        raise TensorError(
            f"instance_norm needs more than one pixel a channel, got {tuple(shape)}: "
            "with one, its variance is 0 and every result too"
        )
    if activation not in ACTIVATIONS:
        raise TensorError(f"activation is {activation!r}; expected one of {ACTIVATIONS}")
    if pad:
        launch.check_pads(shape, (pad, pad, pad, pad))
    if residual is not None:
        _check_beside(x, "residual", residual, shape)
        check_floating("the residual", residual)
    for name, parameter in (("weight", weight), ("bias", bias)):
        if parameter is not None:
            _check_beside(x, name, parameter, (shape[1],))
            check_floating(f"the {name}", parameter)


def _check_beside(x: Tensor, name: str, tensor: Tensor, shape: Sequence[int]) -> None:
    if tensor.shape != shape or tensor.device != x.device:
        raise TensorError(
            f"{name} is {tuple(tensor.shape)} on {tensor.device}; "
            f"expected {tuple(shape)} on {x.device}, as x is {tuple(x.shape)}"
        )
