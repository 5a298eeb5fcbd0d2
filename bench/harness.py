"""What benchmarks share: fair turns, robust figures, and where results go.

Candidates run in turns (A B C, A B C, ...), so that a machine that slows down slows them all; a
candidate's figure is the median of its turns, and a ratio that of medians.
"""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cyclegan
from cyclegan.cpu import cpu_cores, cpu_model, instruction_sets


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of one candidate's turns, and what it did in each."""

    seconds: tuple[float, ...]
    items: int
    """Frames, steps, or whatever is counted, in each turn."""

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
        """Slowest turn over fastest: far above 1, others were using the machine."""
        return max(self.seconds) / min(self.seconds)


def in_turns(
    candidates: Mapping[str, Callable[[], object]], *, turns: int, items: int, warmup: int = 1
) -> dict[str, Timing]:
    """Time every candidate ``turns`` times, after ``warmup`` turns that do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(warmup + turns):
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return {name: Timing(seconds=tuple(taken), items=items) for name, taken in seconds.items()}


def machine() -> dict[str, Any]:
    """Where a figure was measured."""
    return {
        "cpu": cpu_model(),
        "cores": cpu_cores(),
        "instruction_sets": list(instruction_sets()),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "cyclegan": cyclegan.__version__,
    }


def record(result: Mapping[str, Any], path: Path | None) -> None:
    """Append ``result``, with machine and time, as a JSON line to ``path`` or standard output."""
    stamped = {
        **result,
        "machine": machine(),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    line = json.dumps(stamped) + "\n"
    if path is None:
        sys.stdout.write(line)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(line)


def table(title: str, timings: Mapping[str, Timing], unit: str = "frames/s") -> None:
    """Print rates to standard error, each beside its ratio to the first."""
    from rich.console import Console
    from rich.table import Table

    first = next(iter(timings.values()))
    view = Table("candidate", unit, "ms each", "to the first", "spread", title=title)
    for name, timing in timings.items():
        view.add_row(
            name,
            f"{timing.rate:.2f}",
            f"{1000 / timing.rate:.1f}",
            f"{timing.rate / first.rate:.3f}",
            f"{timing.spread:.2f}",
        )
    Console(stderr=True).print(view)


def figures(timings: Mapping[str, Timing]) -> dict[str, Any]:
    """Timings as plain values for :func:`record`."""
    return {name: {**asdict(timing), "per_second": timing.rate} for name, timing in timings.items()}
