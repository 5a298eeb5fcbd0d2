"""Which kernels a GPU spends a call's time in, as its profiler sees them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

CALLS = 5
"""That are looked at."""
NAME = 72
"""Letters of a kernel's name that are kept: those of libraries go on with their template's
arguments."""


@dataclass(frozen=True, kw_only=True)
class KernelTime:
    """One kernel's part of a call."""

    kernel: str
    launches: float
    us: float
    """All its launches of a call together."""


def kernel_times(call: Callable[[], object]) -> list[KernelTime]:
    """Of the mean of some calls, the longest first; copies and fills count as kernels."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        for _ in range(CALLS):
            call()
        torch.cuda.synchronize()  # all of it is to be seen
    return summed(seen.events() or (), CALLS)


def summed(events: Iterable[Any], calls: int) -> list[KernelTime]:
    """What ran on the GPU, by its name."""
    found: dict[str, list[float]] = {}
    for event in events:
        if event.device_type == torch.autograd.DeviceType.CUDA:
            found.setdefault(event.name[:NAME], []).append(event.time_range.elapsed_us())
    times = [
        KernelTime(kernel=name, launches=len(us) / calls, us=sum(us) / calls)
        for name, us in found.items()
    ]
    return sorted(times, key=lambda time: -time.us)
