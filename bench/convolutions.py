"""3x3 convolutions of residual blocks on a CPU, by our kernels and by PyTorch's.

    python -m bench.run convolutions

Forward with a weight prepared as inference has it and as training has it, and both gradients. In
bfloat16 only where that is the CPU's own. Work is what a convolution asks for without any trick:
Winograd's filtering does with less, so its share of the limit may pass 1.

N batch, C channels, H height, W width; activations are (N, C, H, W), channels last.
"""

from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.limits import Work
from bench.operators import Call, check, comparison, dtype_name, shape_name
from bench.suite import Comparison, Options
from cyclegan.cpu import has_fast_bfloat16
from cyclegan.kernels import native, winograd_cpu

PYTORCH, PREPARED, OURS = "PyTorch's", "ours, prepared", "ours"


def comparisons(options: Options) -> Iterator[Comparison]:
    """Forward, and both gradients, in the middle of the generator."""
    for height, width in options.sizes:
        x, weight = _given(4 * options.width, height // 4, width // 4)
        for dtype in (torch.float32, torch.bfloat16)[: 1 + has_fast_bfloat16()]:
            if winograd_cpu.has_kernels(x.to(dtype), weight):
                yield forward(x.to(dtype), weight)
                yield backward(x.to(dtype), weight)


def gate(options: Options) -> Iterator[Comparison]:
    """One case alone, for every change."""
    torch.manual_seed(0)
    if reason := native.why_missing():
        absent = dict.fromkeys((PYTORCH, PREPARED, OURS), reason)
        yield Comparison(name="3x3 convolution", candidates={}, absent=absent)
        return
    yield forward(*_given(128, 64, 64))


def forward(x: Tensor, weight: Tensor) -> Comparison:
    """The convolution without gradients."""
    own, packed = weight.to(x.dtype), winograd_cpu.packed(weight.to(x.dtype))
    assert packed is not None
    calls: dict[str, Call] = {
        PYTORCH: lambda: F.conv2d(x, own),
        PREPARED: lambda: winograd_cpu.conv3x3_packed_op(x, packed, len(weight)),
        OURS: lambda: winograd_cpu.conv3x3_op(x, weight),
    }
    exact = F.conv2d(x.double(), weight.double())
    return _comparison("forward", x, weight, calls, (exact,), 1)


def backward(x: Tensor, weight: Tensor) -> Comparison:
    """The gradients for x and for the weight."""
    own = weight.to(x.dtype)
    dy = torch.randn_like(F.conv2d(x, own))

    def pytorch(x: Tensor, weight: Tensor, dy: Tensor) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
            dy, x, weight, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [True, True, False]
        )
        return found[:2]

    calls: dict[str, Call] = {
        PYTORCH: lambda: pytorch(x, own, dy),
        OURS: lambda: winograd_cpu.conv3x3_backward_op(dy, x, weight, True, True),
    }
    exact = pytorch(*(t.double() for t in (x, weight, dy)))
    return _comparison("backward", x, weight, calls, exact, 2)


def _given(channels: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """As after a norm, relu and padding, and as near 1 after the convolution."""
    x = torch.randn(1, channels, height + 2, width + 2).relu()
    weight = torch.randn(channels, channels, 3, 3) / (3 * channels**0.5)
    x, weight = (t.to(memory_format=torch.channels_last) for t in (x, weight))
    return x, weight


def _comparison(
    what: str,
    x: Tensor,
    weight: Tensor,
    calls: Mapping[str, Call],
    exact: tuple[Tensor, ...],
    products: int,
) -> Comparison:
    for name, call in calls.items():
        found = call()
        for one, wanted in zip(found if isinstance(found, tuple) else (found,), exact):
            check(f"{name}: {what}", one, wanted, x.dtype)
    outputs, channels, height, width = weight.shape[0], *x.shape[1:]
    pixels = (height - 2) * (width - 2)
    dtype = dtype_name(x)
    # The picture and the weight, or the gradients of both too; the result, or its gradient.
    moved = x.element_size() * (products * (x.numel() + weight.numel()) + pixels * outputs)
    return comparison(
        f"3x3 convolution, {what}, {shape_name(x)}, {dtype}",
        calls,
        x,
        dtype=dtype,
        work=Work(flops=products * 2.0 * pixels * channels * outputs * 9, bytes=float(moved)),
    )
