"""Every operation in plain PyTorch: what runs without kernels, and what they must agree with.

N batch, C channels, H height, W width. Half precision is computed in float32, float64 in float64.
``norm_reference`` is made of PyTorch's own operators and is what exports see; the others spell out
what the registered operators compute, derivative by derivative.
"""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from cyclegan.errors import TensorError
from cyclegan.kernels import launch

Activation = Literal["none", "relu", "leaky_relu"]
SLOPE = 0.2
"""Of leaky_relu, for negative inputs (Isola et al. 2017)."""
FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_floating(what: str, x: Tensor) -> None:
    """Raises TensorError unless ``x`` holds floating numbers of 16 bits or more."""
    if x.dtype not in FLOATING:
        raise TensorError(
            f"{what} is {x.dtype} {tuple(x.shape)}; expected floating numbers of 16, 32 or 64 bits"
        )


def pad_reference(x: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    """``x`` (N, C, H, W) mirrored beyond each side; edge pixels are not repeated."""
    padded = F.pad(x, (left, right, top, bottom), mode="reflect")
    # Autocast on a CPU pads in float32.
    return padded if padded.dtype == x.dtype else padded.to(x.dtype)


def pad_backward_reference(dy: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    """The gradient (N, C, H, W) from that of the padded tensor."""
    n, c, high, wide = dy.shape
    like = dy.new_empty((n, c, high - top - bottom, wide - left - right), dtype=_working(dy))
    dx = torch.ops.aten.reflection_pad2d_backward(
        dy.to(like.dtype), like, [left, right, top, bottom]
    )
    return dx.to(dy.dtype)  # type: ignore[no-any-return]


def finish(
    z: Tensor,
    activation: Activation = "none",
    residual: Tensor | None = None,
    pad: int = 0,
    unpadded: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """What follows a norm: activation, then ``+ residual``, then reflection padding.

    Returns the padded result, or with ``unpadded`` the pair (result, padded result), in the dtype
    of ``z``. Raises TensorError for a residual that is not floating, and for other activations.
    """
    if activation == "relu":
        z = F.relu(z)
    elif activation == "leaky_relu":
        z = F.leaky_relu(z, SLOPE)
    elif activation != "none":
        raise TensorError(f"activation is {activation!r}; expected one of {get_args(Activation)}")
    if residual is not None:
        check_floating("the residual", residual)
        # Of two floating dtypes PyTorch returns the wider, the kernels that of z.
        z = z + residual if z.dtype == residual.dtype else (z + residual).to(z.dtype)
    padded = pad_reference(z, pad, pad, pad, pad) if pad else z
    return (z, padded) if unpadded else padded


def norm_reference(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    activation: Activation,
    residual: Tensor | None,
    pad: int,
    unpadded: bool,
) -> Tensor | tuple[Tensor, Tensor]:
    """Instance norm of ``x`` and what follows it, in PyTorch's operators."""
    on_cpu, dtype = x.device.type == "cpu", x.dtype
    if on_cpu and dtype != _working(x) and not launch.is_exporting():
        # PyTorch on a CPU rounds statistics to the dtype of x. In a graph they are its reader's.
        x = x.to(_working(x))
    if any(p is not None and p.dtype != x.dtype for p in (weight, bias)):
        # PyTorch's own takes parameters in the dtype of x, or float32 ones beside half precision.
        weight, bias = (None if p is None else p.to(_working(x)) for p in (weight, bias))
    if not launch.is_exporting() and x.shape[0] == 0:  # PyTorch's own fails, with a weight
        z = x if weight is None else x * weight[:, None, None]
        z = z if bias is None else z + bias[:, None, None]
    else:
        z = F.instance_norm(x, weight=weight, bias=bias, eps=eps)
    if on_cpu and x.shape[0] == 1 and z.requires_grad and not torch.compiler.is_compiling():
        # PyTorch 2.13 on a CPU returns a wrong gradient for one image and a channels-last dz.
        # Where Dynamo looks on there can be no hook: inductor's is right, backend="eager" is not.
        z.register_hook(Tensor.contiguous)  # type: ignore[no-untyped-call]
    return finish(z if z.dtype == dtype else z.to(dtype), activation, residual, pad, unpadded)


def moments_reference(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Mean and 1 / sqrt(biased variance + eps) over H and W, both (N, C)."""
    variance, mean = torch.var_mean(x.to(_working(x)), dim=(2, 3), correction=0)
    return mean, (variance + eps).rsqrt()


def norm_forward_reference(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    eps: float,
    activation: Activation,
    pad: int,
    unpadded: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(z, padded z, mean, rstd); a z that is not asked for is empty."""
    mean, rstd = moments_reference(x, eps)
    y = _affine((x - _wide(mean)) * _wide(rstd), weight, bias)
    z = finish(y, activation, residual)
    assert isinstance(z, Tensor)
    z = z.to(x.dtype)
    none = x.new_empty(0)
    padded = pad_reference(z, pad, pad, pad, pad) if pad else none
    return z if unpadded or not pad else none, padded, mean, rstd


def norm_backward_reference(
    dz: Tensor | None,
    dpadded: Tensor | None,
    x: Tensor,
    mean: Tensor,
    rstd: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    activation: Activation,
    pad: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """(dx, sums, dy): sums (N, 2, C) of g and g x^; dy the whole gradient of z, unmasked.

    With x^ = (x - mean) rstd, g = dy act'(gamma x^ + beta) and M = H W:
    dx = gamma rstd (g - sum g / M - x^ sum g x^ / M).
    """
    wide = _working(x)
    dy = torch.zeros_like(x, dtype=wide) if dz is None else dz.to(wide)
    if dpadded is not None:
        dy = dy + pad_backward_reference(dpadded.to(wide), pad, pad, pad, pad)
    xhat = (x - _wide(mean)) * _wide(rstd)
    g = dy
    if activation != "none":
        slope = 0.0 if activation == "relu" else SLOPE
        g = torch.where(_affine(xhat, weight, bias) > 0, dy, dy * slope)
    sums = torch.stack([g.sum((2, 3)), (g * xhat).sum((2, 3))], dim=1)
    mean_g, mean_gx = (_wide(part) / (x.shape[2] * x.shape[3]) for part in sums.unbind(1))
    dx = _affine((g - mean_g - xhat * mean_gx) * _wide(rstd), weight, None)
    return dx.to(x.dtype), sums, dy.to(x.dtype)


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if weight is not None:
        x = x * weight.to(x.dtype)[:, None, None]
    if bias is not None:
        x = x + bias.to(x.dtype)[:, None, None]
    return x


def _wide(per_channel: Tensor) -> Tensor:
    return per_channel[:, :, None, None]


def _working(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32
