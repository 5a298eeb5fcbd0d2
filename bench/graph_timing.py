"""The time of one call on a GPU, from replays of a CUDA graph of many, and the rate of a copy.

Neither launches nor the cache flatter anyone: the graph is one launch, and its calls' inputs are to
pass the L2 several times.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bench.checked import Call, check

STEADY = 1.1
"""Where the replays of the middle three fifths differ more, another process was at the GPU."""
TRIES = 5
"""Until they do not."""
WARM = 3
"""Replays that are not timed."""
HEAD_START = 10.0
"""Milliseconds that the host gets to put replays into the GPU's queue."""


@dataclass(frozen=True, kw_only=True)
class Timed:
    """What a call took."""

    ms: float
    """The median."""
    busy: bool = False
    """Whether replays differed to the end."""


def timed(calls: Sequence[Call], repeats: int = 20) -> Timed:
    """The time of one call, from replays of a CUDA graph of all of them.

    The GPU has something to do until all replays are in its queue: it waits for the host in none.
    Raises AssertionError where the graph gives wrong results.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            for call in calls:
                call()
    torch.cuda.synchronize()  # the graph must not begin before its inputs are made
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        results = [call() for call in calls]  # kept: memory used again would be in the cache
    graph.replay()
    check(calls, results)
    for _ in range(TRIES):
        times = _replayed(graph, repeats)
        busy = times[-repeats // 5] > STEADY * times[repeats // 5]
        if not busy:
            break
    del results
    return Timed(ms=times[repeats // 2] / len(calls), busy=busy)


def _replayed(graph: torch.cuda.CUDAGraph, repeats: int) -> list[float]:
    """Milliseconds of each replay, sorted."""
    events = [
        [torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats + WARM)
    ]
    keep_busy(HEAD_START)
    for start, end in events:
        start.record()
        graph.replay()
        end.record()
    torch.cuda.synchronize()  # times are read on the host
    return sorted(start.elapsed_time(end) for start, end in events[WARM:])


def keep_busy(milliseconds: float) -> None:
    """Gives the GPU about so much to do, by the clock of those that are sold today."""
    torch.cuda._sleep(int(1.7e6 * milliseconds))


def copy_rate(numbers: int = 1 << 29) -> float:
    """Bytes per second of a device-to-device copy of ``numbers`` float16, read and written.

    The faster of the driver's copy and of PyTorch's kernel that writes what it reads.
    """
    source = torch.randn(numbers, device="cuda", dtype=torch.float16)
    target = torch.empty_like(source)
    ways: list[Call] = [lambda: target.copy_(source), lambda: torch.mul(source, 1, out=target)]
    return 4 * numbers / min(timed([way]).ms for way in ways) * 1e3


def sets_of(size: int) -> int:
    """How many inputs of ``size`` bytes together pass the L2 three times; at most 256."""
    cache = torch.cuda.get_device_properties(0).L2_cache_size
    return int(min(2 + 3 * cache // size, 256))
