"""What a machine can do at most, and how much work there is at least: results as shares of limits.

Two rates bound a network: bytes copied and multiply-adds done in a second. Both are measured on the
machine at hand, right before what they judge. The least time of a piece of work is that of the
slower of the two (the roofline of Williams, Waterman and Patterson, 2009).

N batch, C channels, H height, W width.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from bench.harness import Clock, Timing, cuda_seconds, host_seconds, in_turns
from cyclegan.cpu import has_fast_bfloat16
from cyclegan.engine.frame_graph import FrameToFrame

if TYPE_CHECKING:
    from cyclegan.networks import Generator

COPY_BYTES = 1 << 27
"""Larger than any cache in reach, on a CPU and on a GPU."""
MATRIX = {"cpu": 2048, "cuda": 8192}
"""Rows and columns of the matrices that are multiplied: with 1024, AMX shows half its rate."""
IN_SOFTWARE = 256
"""The same where a CPU has no instructions for a dtype: a hundred times slower, at any size."""
TURNS = 5


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one item asks for at least."""

    flops: float
    """Multiplications and additions, two for each multiply-add, as the convolutions have them."""
    bytes: float
    """Read and written once: frames in, frames out, weights."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What this machine did just now."""

    copy_bytes_per_s: float
    """Read and written."""
    flops_per_s: dict[str, float]
    """Of a large matrix product, by dtype."""

    def seconds(self, work: Work) -> float:
        """The least time of ``work`` in the fastest dtype, memory and arithmetic side by side."""
        fastest = max(self.flops_per_s.values())
        return max(work.bytes / self.copy_bytes_per_s, work.flops / fastest)


def measure_limits(device: str = "cpu") -> Limits:
    """The machine's rates of copying and of matrix products, with the threads PyTorch may use."""
    clock: Clock = cuda_seconds if device == "cuda" else host_seconds
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    sides = {name: matrix_side(dtype, device, MATRIX[device]) for name, dtype in dtypes.items()}
    source = torch.ones(COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    candidates: dict[str, Callable[[], object]] = {"copy": lambda: target.copy_(source)}
    for name, dtype in dtypes.items():
        square = torch.full((sides[name],) * 2, 0.5, dtype=dtype, device=device)
        candidates[name] = lambda square=square: square @ square  # type: ignore[misc]
    timings = in_turns(candidates, turns=TURNS, items=1, clock=clock)
    return Limits(
        copy_bytes_per_s=2 * COPY_BYTES / _best(timings["copy"]),
        flops_per_s={name: 2 * side**3 / _best(timings[name]) for name, side in sides.items()},
    )


def matrix_side(dtype: torch.dtype, device: str, side: int) -> int:
    """``side``, or a smaller one where products of ``dtype`` would take minutes."""
    software = device == "cpu" and dtype != torch.float32 and not has_fast_bfloat16()
    return min(side, IN_SOFTWARE) if software else side


def _best(timing: Timing) -> float:
    return timing.quantile(0.2)  # a limit: what the machine does when it is left alone


def frame_work(generator: "Generator", height: int, width: int, *, batch: int = 1) -> Work:
    """What one uint8 frame of (H, W) asks of the frame-to-frame network.

    Weights count as float16, and are read once a batch.
    """
    from torch.utils.flop_counter import FlopCounterMode

    network = FrameToFrame(copy.deepcopy(generator).to("meta"))
    channels = generator.config.in_channels
    frames = torch.empty(1, height, width, channels, dtype=torch.uint8, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        translated = network(frames)
    weights = sum(p.numel() for p in generator.parameters())
    moved = frames.numel() + translated.numel() + 2 * weights / batch
    return Work(flops=counter.get_total_flops(), bytes=moved)
