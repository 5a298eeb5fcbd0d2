"""The fused operations on a CPU, where they are plain PyTorch, beside PyTorch's own operators.

    python -m bench.run kernels

The kernels themselves run on a GPU alone: ``make gpu`` (``bench/kernels.py``).

N batch, C channels, H height, W width; activations are float32 (N, C, H, W), channels-last.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.suite import Comparison, Options
from cyclegan.kernels import instance_norm

OURS, PYTORCH = "ours", "PyTorch's operators"
CASES = ((64, 1), (128, 2), (256, 4))
"""Channels, and by what the frame's sides are divided there in the paper's generator."""


def comparisons(options: Options) -> Iterator[Comparison]:
    """Norm, activation and padding in one, at the sizes they have inside a generator."""
    for channels, divided in CASES:
        height, width = (side // divided for side in options.sizes[0])
        x = torch.randn(1, channels * options.width // 64, height, width)
        yield _comparison(x.to(memory_format=torch.channels_last))


def gate(options: Options) -> Iterator[Comparison]:
    """One case alone: enough for every change."""
    torch.manual_seed(0)
    x = torch.randn(1, 2 * options.width, *options.sizes[0])
    yield _comparison(x.to(memory_format=torch.channels_last))


def _comparison(x: Tensor) -> Comparison:
    runs: dict[str, Callable[[Tensor], Tensor]] = {
        PYTORCH: lambda x: F.pad(F.relu(F.instance_norm(x)), (1, 1, 1, 1), mode="reflect"),
        OURS: lambda x: instance_norm(x, activation="relu", pad=1),
    }
    exact = runs[PYTORCH](x)
    error = float((runs[OURS](x) - exact).norm() / exact.norm())
    assert error < 1e-5, f"instance norm is wrong: {error}"

    def repeated(run: Callable[[Tensor], Tensor], count: int) -> None:
        with torch.inference_mode():
            for _ in range(count):
                run(x)

    shape = "x".join(map(str, x.shape))
    return Comparison(
        name=f"norm relu pad1, {shape}",
        candidates={
            name: lambda count, run=run: repeated(run, count)  # type: ignore[misc]
            for name, run in runs.items()
        },
        unit="calls",
        settings={"shape": shape, "threads": torch.get_num_threads()},
    )
