"""What benchmarks share: fair turns, robust figures, and where results go.

Candidates run in turns (A B C, A B C, ...), so that a machine that slows down slows them all. A
candidate's figure is the median of its turns; a ratio is the median of the ratios of each turn, so
that what both met in the same moment cancels.
"""

import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import machine
from bench.others import Others, watching_others
from cyclegan.errors import OutputError, reason_of
from cyclegan.files import append, check_writable

Call = Callable[[], object]
Clock = Callable[[Call], float]
"""Seconds that a call takes."""

FEWEST_TURNS = 3
BUSY = 1.25
"""p80 over p20 of a candidate's turns: above it, others were using the machine."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of one candidate's turns, and what it did in each."""

    seconds: tuple[float, ...]
    items: int
    """Frames, steps, or whatever is counted, in each turn."""
    peak_bytes: int | None = None
    """Most memory of the process (of the GPU, for what runs there) while it warmed up."""
    others: Others = field(default_factory=Others)
    """Who used the machine beside the candidates, while they took turns."""

    def quantile(self, share: float) -> float:
        """Seconds of a turn that ``share`` of the turns did not exceed."""
        return float(np.quantile(self.seconds, share))

    @property
    def median(self) -> float:
        """Median seconds of a turn."""
        return statistics.median(self.seconds)

    @property
    def rate(self) -> float:
        """Items per second, at the median."""
        return self.items / self.median

    @property
    def spread(self) -> float:
        """The turn at 80 % over that at 20 %: 1 on a quiet machine."""
        return self.quantile(0.8) / self.quantile(0.2)

    @property
    def busy(self) -> bool:
        """Whether turns differ by more than a quiet machine's do, or others slowed all alike."""
        return self.spread > BUSY or self.others.busy


def host_seconds(run: Call) -> float:
    """Wall time of a call that has ended when it returns."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def cuda_seconds(run: Call) -> float:
    """Time between two CUDA events around a call, on the current stream; it may be asynchronous."""
    import torch

    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()  # begin with an idle GPU
    start.record()
    run()
    end.record()
    end.synchronize()  # the time is read on the host
    return float(start.elapsed_time(end)) / 1e3


def in_turns(
    candidates: Mapping[str, Call],
    *,
    turns: int,
    items: int | Mapping[str, int],
    warmup: int = 1,
    clock: Clock = host_seconds,
    most_seconds: float = math.inf,
) -> dict[str, Timing]:
    """Time every candidate ``turns`` times, after ``warmup`` turns that do not count.

    ``items`` are those of a turn, where they differ by candidate. After ``most_seconds`` no more
    turns begin, once there are three of each.
    """
    counts = items if isinstance(items, Mapping) else dict.fromkeys(candidates, items)
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    peaks: dict[str, int | None] = dict.fromkeys(candidates)
    end = time.perf_counter() + most_seconds
    with watching_others() as others:
        for turn in range(warmup + turns):
            if turn >= warmup + FEWEST_TURNS and time.perf_counter() > end:
                break
            for name, run in candidates.items():
                if turn >= warmup:
                    seconds[name].append(clock(run))
                    continue
                with peak_memory(on_gpu=clock is cuda_seconds) as peak:
                    clock(run)
                peaks[name] = peak.bytes
    return {
        name: Timing(
            seconds=tuple(taken), items=counts[name], peak_bytes=peaks[name], others=others
        )
        for name, taken in seconds.items()
    }


def ratio(ours: Timing, other: Timing) -> Timing:
    """How many times as fast ``ours`` is, turn by turn: the "seconds" of the result are ratios."""
    share = ours.items / other.items
    by_turn = (share * theirs / mine for mine, theirs in zip(ours.seconds, other.seconds))
    return Timing(seconds=tuple(by_turn), items=1, others=ours.others)


@dataclass
class Peak:
    """Filled in when the block of :func:`peak_memory` ends."""

    bytes: int | None = None


@contextmanager
def peak_memory(*, on_gpu: bool = False) -> Iterator[Peak]:
    """The most bytes in use during the block, by the process or on the GPU; None if unknown."""
    peak = Peak()
    if on_gpu:
        import torch

        torch.cuda.reset_peak_memory_stats()
        yield peak
        peak.bytes = int(torch.cuda.max_memory_allocated())
        return
    known = _reset_resident_peak()
    yield peak
    peak.bytes = resident_bytes("VmHWM") if known else None


def _reset_resident_peak() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def resident_bytes(name: str = "VmRSS") -> int | None:
    """Of this process (Linux); "VmHWM" is the most there ever were. None if unknown."""
    # Not ru_maxrss: that begins at the peak of the process which started this one.
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    kib = next((line.split()[1] for line in lines if line.startswith(name)), None)
    return None if kib is None else int(kib) * 1024


def record(result: Mapping[str, Any], path: Path | None) -> None:
    """Append ``result``, with machine and time, as a JSON line to ``path`` or standard output.

    Raises ValueError for NaN and infinity, which JSON has no words for.
    """
    stamped = {
        **result,
        "machine": machine(),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    line = json.dumps(stamped, allow_nan=False) + "\n"
    if path is None:
        sys.stdout.write(line)
        return
    append(path, ("\n" * (not _ends_whole(path)) + line).encode())
    with path.open("rb+") as file:
        os.fsync(file.fileno())  # what was measured survives whatever comes next


def _ends_whole(path: Path) -> bool:
    """Whether the last line is one: who is killed while it writes leaves half of it."""
    if not path.exists():
        return True
    with path.open("rb") as file:
        if not (end := file.seek(0, os.SEEK_END)):
            return True
        file.seek(end - 1)
        return file.read() == b"\n"


def check_output(path: Path | None) -> None:
    """Raises OutputError where :func:`record` could not write, to be told before long work."""
    if path is None:
        return
    if not path.exists():
        check_writable(path)
        return
    try:
        path.open("a").close()
    except OSError as error:
        raise OutputError(f"cannot write {path}: {reason_of(error)}") from error


def table(title: str, timings: Mapping[str, Timing], unit: str = "frames/s") -> None:
    """Print rates to standard error, each beside its ratio to the first."""
    from rich.console import Console
    from rich.table import Table

    first = next(iter(timings.values()))
    if first.others.busy:
        title += f"; others used {first.others.share:.0%} of the CPU: busy"
    view = Table("candidate", unit, "ms each", "to the first", "spread", title=title)
    for name, timing in timings.items():
        view.add_row(
            name,
            f"{timing.rate:.4g}",
            f"{1000 / timing.rate:.3g}",
            f"{ratio(timing, first).median:.3f}",
            f"{timing.spread:.2f}{' busy' if timing.busy else ''}",
        )
    Console(stderr=True).print(view)


def figures(timings: Mapping[str, Timing]) -> dict[str, Any]:
    """Timings as plain values for :func:`record`; milliseconds are of one item."""
    return {
        name: {
            "seconds": list(timing.seconds),
            "items": timing.items,
            "per_second": timing.rate,
            **{f"p{q}_ms": 1e3 * timing.quantile(q / 100) / timing.items for q in (20, 50, 80)},
            "spread": timing.spread,
            "busy": timing.busy,
            "others_used": timing.others.share,
            "peak_bytes": timing.peak_bytes,
        }
        for name, timing in timings.items()
    }
