"""The fused operations on a CPU beside PyTorch's own operators.

    python -m bench.run kernels

C++ kernels, forward and backward; where nothing can compile them, PyTorch's operators, which cost
nothing but their call. The kernels of a GPU: ``make gpu`` (``bench/kernels.py``).

N batch, C channels, H height, W width; activations are (N, C, H, W), channels-last.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.operators import check, comparison, dtype_name, shape_name
from bench.suite import Comparison, Options
from cyclegan.cpu import has_fast_bfloat16
from cyclegan.kernels import instance_norm, native

OURS, PYTORCH = "ours", "PyTorch's operators"
CASES = ((64, 1), (128, 2), (256, 4))
"""Channels, and by what the frame's sides are divided there in the paper's generator."""
PAD = 1
RUNS: dict[str, Callable[[Tensor], Tensor]] = {
    PYTORCH: lambda x: F.pad(F.relu(F.instance_norm(x)), (PAD,) * 4, mode="reflect"),
    OURS: lambda x: instance_norm(x, activation="relu", pad=PAD),
}


def comparisons(options: Options) -> Iterator[Comparison]:
    """Norm, activation and padding in one, at the sizes they have inside a generator.

    In bfloat16 only where that is the CPU's own: it is what training takes there.
    """
    for channels, divided in CASES:
        height, width = (side // divided for side in options.sizes[0])
        x = _given(channels * options.width // 64, height, width)
        yield forward(x)
        if not native.available("instance_norm_cpu"):
            continue
        yield backward(x)
        if has_fast_bfloat16():
            yield forward(x.bfloat16())
            yield backward(x.bfloat16())


def gate(options: Options) -> Iterator[Comparison]:
    """One case alone: enough for every change."""
    torch.manual_seed(0)
    yield forward(_given(2 * options.width, *options.sizes[0]))


def forward(x: Tensor) -> Comparison:
    """The group without gradients."""
    exact = RUNS[PYTORCH](x.double())
    for name, run in RUNS.items():
        check(name, run(x), exact, x.dtype)
    calls = {name: partial(run, x) for name, run in RUNS.items()}
    return comparison(_title("norm relu pad1", x), calls, x)


def backward(x: Tensor) -> Comparison:
    """Its gradient alone, of one that lies as ``x`` does."""
    n, c, h, w = x.shape
    dy = _given(c, h + 2 * PAD, w + 2 * PAD).to(x.dtype).expand(n, -1, -1, -1)

    def gradient(given: Tensor, y: Tensor) -> Tensor:
        return torch.autograd.grad(y, given, dy, retain_graph=True)[0]

    calls = {}
    for name, run in RUNS.items():
        given = x.clone(memory_format=torch.channels_last).requires_grad_()
        calls[name] = partial(gradient, given, run(given))
    wide = x.double().requires_grad_()
    (exact,) = torch.autograd.grad(RUNS[PYTORCH](wide), wide, dy.double())
    check(OURS, calls[OURS](), exact, x.dtype)  # PyTorch's is wrong for one image, channels last
    return comparison(_title("norm relu pad1, backward", x), calls, x)


def _given(channels: int, height: int, width: int) -> Tensor:
    return torch.randn(1, channels, height, width).to(memory_format=torch.channels_last)


def _title(what: str, x: Tensor) -> str:
    dtype = "" if x.dtype == torch.float32 else f", {dtype_name(x)}"
    return f"{what}, {shape_name(x)}{dtype}"
