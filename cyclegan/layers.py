"""What networks are made of: norms that do what follows them too, the convolutions before them, and
ways to double a picture.

N batch, C channels, H height, W width; activations are float (N, C, H, W). A norm is called with
what follows it (activation, residual sum, reflection pad), so that one kernel can do it all:
``norm(x, activation="relu", pad=1)``.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan.config import Norm, Upsample
from cyclegan.kernels import (
    Activation,
    finish,
    instance_norm,
    launch,
    native,
    reflection_pad2d,
    winograd_cpu,
)


class InstanceNorm(nn.Module):
    """Instance norm without parameters or running statistics."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(
        self,
        x: Tensor,
        activation: Activation = "none",
        residual: Tensor | None = None,
        pad: int = 0,
        unpadded: bool = False,
    ) -> Any:
        return instance_norm(
            x, activation=activation, residual=residual, pad=pad, unpadded=unpadded
        )


class BatchNorm(nn.BatchNorm2d):
    """Batch norm with scale, shift and running statistics."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        return finish(super().forward(x), *args, **kwargs)


class NoNorm(nn.Module):
    """No norm, only what follows it."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        return finish(x, *args, **kwargs)


NORMS: dict[Norm, Any] = {"instance": InstanceNorm, "batch": BatchNorm, "none": NoNorm}


def has_bias(norm: Norm) -> bool:
    """Whether convolutions before this norm carry a bias, as the public implementation has it."""
    return norm == "instance"


class BeforeNorm(nn.Module):
    """A convolution that a norm follows; it has a bias where that is an instance norm."""

    bias: Tensor | None

    def bias_for(self, x: Tensor) -> Tensor | None:
        """What is added to the convolution of ``x``.

        An instance norm takes away any constant. On a GPU adding it is a pass over the activation,
        and its gradient, which is 0 but for rounding, another, on a CPU in bfloat16 a slow one; so
        it is left out, and stays.
        """
        return (
            None if launch.has_kernels(x) or native.computed_in(x) == torch.bfloat16 else self.bias
        )


class Conv(BeforeNorm, nn.Conv2d):
    """A convolution that ``norm`` follows."""

    def __init__(
        self, before: int, after: int, side: int, *, norm: Norm, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__(before, after, side, stride, padding, bias=has_bias(norm))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self._conv_forward(x, self.weight, self.bias_for(x))
        return y


class Conv3x3(Conv):
    """An unpadded 3x3 convolution of stride 1 that ``norm`` follows."""

    packed: Tensor | None = None

    def __init__(self, before: int, after: int, *, norm: Norm) -> None:
        super().__init__(before, after, 3, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        if not winograd_cpu.has_kernels(x, self.weight):
            return super().forward(x)
        # A bias would be one that an instance norm takes away.
        y: Tensor = (
            winograd_cpu.conv3x3_op(x, self.weight)
            if self.packed is None
            else winograd_cpu.conv3x3_packed_op(x, self.packed, self.out_channels)
        )
        return y

    def prepare(self) -> None:
        self.packed = winograd_cpu.packed(self.weight)


class ResizeConv(Conv3x3):
    """Nearest-neighbour doubling, then a 3x3 convolution (Odena et al. 2016)."""

    def forward(self, x: Tensor) -> Tensor:
        doubled = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return super().forward(reflection_pad2d(doubled, 1))


class TransposedConv(BeforeNorm, nn.ConvTranspose2d):
    """A transposed convolution that doubles height and width, and that ``norm`` follows."""

    def __init__(self, before: int, after: int, side: int = 3, *, norm: Norm) -> None:
        super().__init__(
            before, after, side, stride=2, padding=1, output_padding=side % 2, bias=has_bias(norm)
        )

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        return F.conv_transpose2d(x, self.weight, self.bias_for(x), 2, 1, self.output_padding)


UPSAMPLES: dict[Upsample, Any] = {"transposed": TransposedConv, "resize": ResizeConv}
