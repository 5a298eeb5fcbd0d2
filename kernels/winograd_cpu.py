"""3x3 convolutions on a CPU by the C++ kernels beside this file, as registered operators.

What ``conv2d`` gives for stride 1 without padding or bias, by less than half its products, or by a
quarter of them (``winograd_cpu.cpp``).

N batch, C channels, H height, W width, O outputs. x is float32 or bfloat16 (N, C, H, W), and
copied if it is not channels last; a weight is of any float type, (O, C, 3, 3).
"""

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op
from torch.utils.flop_counter import conv_flop_count, register_flop_formula

from cyclegan.errors import TensorError
from cyclegan.kernels import launch, native

SOURCE = "winograd_cpu"
MULTIPLE = 32
"""C and O must be multiples of it."""
LEAST_CHANNELS = {torch.float32: 64, torch.bfloat16: 128}
LEAST_PIXELS = 1000
"""With fewer of either, transforms take longer than the products that they save."""

TILE = 2
"""Side of the squares of y that are computed together."""
TILES = {torch.float32: 4, torch.bfloat16: TILE}
"""The same where there is no gradient, which would lose digits once more."""


def has_kernels(x: Tensor, weight: Tensor) -> bool:
    """Whether a convolution of ``x`` by ``weight`` is better run by a C++ kernel."""
    return (
        x.dtype == native.computed_in(x)
        and x.shape[1] == weight.shape[1]  # PyTorch has an error for others, and for small pictures
        and min(x.shape[2:]) >= 3
        and x.shape[0] * x.shape[2] * x.shape[3] >= LEAST_PIXELS
        and native.may_run(x)
        and _has_kernels(x.dtype, *weight.shape)
    )


def packed(weight: Tensor) -> Tensor | None:
    """``weight`` as :func:`conv3x3_packed_op` takes it for x of the same type; None without it."""
    if weight.device.type != "cpu" or not _has_kernels(weight.dtype, *weight.shape):
        return None
    return _pack(weight, weight.dtype, TILES[weight.dtype])


@launch.constant_in_graphs
def _has_kernels(dtype: torch.dtype, outputs: int, channels: int, *kernel: int) -> bool:
    return (
        dtype in TILES
        and kernel == (3, 3)
        and not outputs % MULTIPLE
        and not channels % MULTIPLE
        and min(outputs, channels) >= LEAST_CHANNELS[dtype]
        and native.available(SOURCE)
        and hasattr(native.library(SOURCE), f"winograd_pack_{_kind(dtype, TILE)}")
    )


@custom_op("cyclegan::conv3x3_cpu", mutates_args=(), device_types="cpu")
def conv3x3_op(x: Tensor, weight: Tensor) -> Tensor:
    """y (N, O, H - 2, W - 2)."""
    return _convolve(x, _pack(weight, x.dtype, TILE), weight.shape[0], TILE)


@custom_op("cyclegan::conv3x3_cpu_backward", mutates_args=(), device_types="cpu")
def conv3x3_backward_op(
    dy: Tensor, x: Tensor, weight: Tensor, for_x: bool, for_weight: bool
) -> tuple[Tensor, Tensor]:
    """(dx, dweight), each empty where it is not asked for."""
    dy = dy.to(x.dtype)
    dx, dweight = x.new_empty(0), weight.new_empty(0)
    if for_x:
        turned = _pack(weight, x.dtype, TILE, turned=True)
        dx = _convolve(dy, turned, weight.shape[1], TILE, pad=2)
    if for_weight:
        dweight = _differentiate(x, dy, weight)
    return dx, dweight


@custom_op("cyclegan::conv3x3_cpu_packed", mutates_args=(), device_types="cpu")
def conv3x3_packed_op(x: Tensor, weight: Tensor, outputs: int) -> Tensor:
    """y (N, O, H - 2, W - 2), O being ``outputs``, by a weight that :func:`packed` has packed.

    Raises TensorError for a weight of another type or size.
    """
    tile, channels = TILES[x.dtype], x.shape[1]
    if weight.dtype != x.dtype or weight.numel() != outputs * channels * (tile + 2) ** 2:
        raise TensorError(
            f"a weight packed for {x.dtype}, {channels} channels and {outputs} outputs was "
            f"expected, got {weight.numel()} numbers of {weight.dtype}; pack it with packed()"
        )
    return _convolve(x, weight, outputs, tile)


def _kind(dtype: torch.dtype, tile: int) -> str:
    return f"{str(dtype).removeprefix('torch.')}_{tile}"


def _pack(weight: Tensor, dtype: torch.dtype, tile: int, turned: bool = False) -> Tensor:
    """``turned``: by 180 degrees, and from outputs to channels."""
    weight = weight.float().contiguous(memory_format=torch.channels_last)
    o, c = weight.shape[:2]
    packed = weight.new_empty(o * c * (tile + 2) ** 2, dtype=dtype)
    _run(f"pack_{'turned_' * turned}{_kind(dtype, tile)}", weight, packed, o, c)
    return packed


def _convolve(x: Tensor, packed: Tensor, outputs: int, tile: int, pad: int = 0) -> Tensor:
    n, c, h, w = x.shape
    x = x.contiguous(memory_format=torch.channels_last)
    kind, y = _kind(x.dtype, tile), _empty(x, outputs, 2 * pad - 2)
    work = _work(x, torch.get_num_threads() * _function(f"work_{kind}")(c))
    _run(f"convolve_{kind}", x, packed, y, work, n, c, h, w, outputs, pad)
    return y


def _differentiate(x: Tensor, dy: Tensor, weight: Tensor) -> Tensor:
    n, c, h, w = x.shape
    # Hooks on what is saved, as those that bring it elsewhere, may lay it out anew.
    x, dy = (t.contiguous(memory_format=torch.channels_last) for t in (x, dy))
    kind, outputs = _kind(x.dtype, TILE), weight.shape[0]
    dweight = torch.empty_like(weight, dtype=torch.float32, memory_format=torch.channels_last)
    work = _work(x, _function(f"gradient_work_{kind}")(c, outputs, torch.get_num_threads()))
    _run(f"gradient_{kind}", x, dy, dweight, work, n, c, h, w, outputs)
    return _laid_out_as(weight, dweight.to(weight.dtype))


def _laid_out_as(weight: Tensor, gradient: Tensor) -> Tensor:
    last = weight.is_contiguous(memory_format=torch.channels_last)
    return gradient if last else gradient.contiguous()


def _empty(x: Tensor, outputs: int, more: int) -> Tensor:
    n, _, h, w = x.shape
    size = (n, outputs, h + more, w + more)
    return torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _work(x: Tensor, numbers: int) -> Tensor:
    # Whatever type and device are the default.
    return x.new_empty(numbers, dtype=torch.float32)


def _run(name: str, *arguments: Tensor | int) -> None:
    numbers = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
    _function(name)(*numbers, torch.get_num_threads())


def _function(name: str) -> Any:
    return getattr(native.library(SOURCE), f"winograd_{name}")


@conv3x3_op.register_fake
def _fake(x, weight):  # type: ignore[no-untyped-def]
    return _empty(x, weight.shape[0], -2)


@conv3x3_backward_op.register_fake
def _backward_fake(dy, x, weight, for_x, for_weight):  # type: ignore[no-untyped-def]
    dx = _empty(x, x.shape[1], 0) if for_x else x.new_empty(0)
    last = torch.empty_like(weight, memory_format=torch.channels_last)
    return dx, _laid_out_as(weight, last) if for_weight else weight.new_empty(0)


@conv3x3_packed_op.register_fake
def _packed_fake(x, weight, outputs):  # type: ignore[no-untyped-def]
    return _empty(x, outputs, -2)


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradients(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None]:
    x, weight = ctx.saved_tensors
    wanted = ctx.needs_input_grad
    if torch.is_grad_enabled():  # to be differentiated again: PyTorch's convolution can be
        ones = [1, 1]
        gradients = torch.ops.aten.convolution_backward(
            dy, x, weight.to(x.dtype), None, ones, [0, 0], ones, False, [0, 0], 1, [*wanted, False]
        )
        return gradients[0], gradients[1].to(weight.dtype) if wanted[1] else None
    gradients = conv3x3_backward_op(dy, x, weight, *wanted)
    return tuple(g if asked else None for g, asked in zip(gradients, wanted))  # type: ignore[return-value]


conv3x3_op.register_autograd(_gradients, setup_context=_keep)


@register_flop_formula(torch.ops.cyclegan.conv3x3_cpu)
def _flops(x_shape, weight_shape, *args, out_shape=None, **kwargs):  # type: ignore[no-untyped-def]
    """Those of the convolution that it is, whatever is saved of them."""
    return conv_flop_count(x_shape, weight_shape, out_shape)


@register_flop_formula(torch.ops.cyclegan.conv3x3_cpu_packed)
def _packed_flops(x_shape, weight_shape, outputs, *args, out_shape=None, **kwargs):  # type: ignore[no-untyped-def]
    return conv_flop_count(x_shape, [outputs, x_shape[1], 3, 3], out_shape)


@register_flop_formula(torch.ops.cyclegan.conv3x3_cpu_backward)
def _backward_flops(dy_shape, x_shape, weight_shape, for_x, for_weight, *args, **kwargs):  # type: ignore[no-untyped-def]
    return (for_x + for_weight) * conv_flop_count(x_shape, weight_shape, dy_shape)
