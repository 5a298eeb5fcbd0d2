"""Instance norm with what follows it in a CycleGAN: activation, residual sum, reflection pad.

N batch, C channels, H height, W width.
"""

from typing import Literal, overload

import torch.nn.functional as F
from torch import Tensor

from cyclegan.kernels.reflection_pad import reflection_pad2d

Activation = Literal["none", "relu", "leaky_relu"]


@overload
def finish(
    z: Tensor,
    activation: Activation = ...,
    residual: Tensor | None = ...,
    pad: int = ...,
    unpadded: Literal[False] = ...,
) -> Tensor: ...
@overload
def finish(
    z: Tensor,
    activation: Activation,
    residual: Tensor | None,
    pad: int,
    unpadded: Literal[True],
) -> tuple[Tensor, Tensor]: ...
def finish(
    z: Tensor,
    activation: Activation = "none",
    residual: Tensor | None = None,
    pad: int = 0,
    unpadded: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """What follows a norm: activation, then ``+ residual``, then reflection padding.

    Returns the padded result, or with ``unpadded`` the pair (result, padded result).
    """
    if activation == "relu":
        z = F.relu(z)
    elif activation == "leaky_relu":
        z = F.leaky_relu(z, 0.2)
    if residual is not None:
        z = z + residual
    padded = reflection_pad2d(z, pad) if pad else z
    return (z, padded) if unpadded else padded


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
) -> Tensor | tuple[Tensor, Tensor]:
    """Instance norm (Ulyanov et al. 2016) of ``x`` (N, C, H, W), then :func:`finish`.

    Biased variance over H and W; ``weight`` and ``bias`` (C) scale and shift when given.
    """
    z = F.instance_norm(x, weight=weight, bias=bias, eps=eps)
    return finish(z, activation, residual, pad, unpadded)  # type: ignore[call-overload,no-any-return]
