"""What a suite is: comparisons, opened one after another, measured and written row by row.

A suite is a function from :class:`Options` to an iterator of :class:`Comparison`. It opens what a
comparison needs before it yields it, and closes it afterwards. ``bench/suites.py`` lists them.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness import Clock, Timing, figures, host_seconds, in_turns, ratio, record, table
from bench.limits import Limits, Work, measure_limits

Repeated = Callable[[int], object]
"""Does its work so many times over; whatever may overlap, overlaps."""

SUPER_LINEAR = 1.15
"""Cost that grows faster than the amount of work to this power is worth a look."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How much of a suite is measured."""

    width: int = 64
    """Channels of the generator behind its first convolution."""
    blocks: int = 9
    sizes: tuple[tuple[int, int], ...] = ((256, 256), (512, 512), (720, 1280))
    """Height and width of frames."""
    batches: tuple[int, ...] = (1, 4, 16)
    turns: int = 5
    seconds: float = 1.0
    """Least length of a turn: short calls are repeated to fill it."""
    most_seconds: float = 40.0
    """Of a comparison: after them, three turns of each candidate must do."""
    longest: float = 10.0
    """Seconds of a call that is expected to be too long to be repeated, and is left out."""


TINY = Options(
    width=4, blocks=1, sizes=((32, 32),), batches=(1, 2), turns=2, seconds=0.0, longest=60.0
)
"""To see that everything runs. Its figures mean nothing."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Candidates for the same work, to be timed in turns; the first is what others stand beside."""

    name: str
    candidates: Mapping[str, Repeated]
    items: int = 1
    """Frames, or whatever ``unit`` says, in one repetition."""
    unit: str = "frames"
    settings: Mapping[str, Any] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    """Candidates that cannot run here, and why."""
    psnr_db: Mapping[str, float] = field(default_factory=dict)
    """To float32 PyTorch, checked before anything is timed."""
    about: Mapping[str, str] = field(default_factory=dict)
    """What a candidate ran with, where the machine's card does not say it."""
    work: Work | None = None
    """Of one item."""
    scale: Mapping[str, float] = field(default_factory=dict)
    """Where candidates are one thing at several scales: the scale of each."""
    clock: Clock = host_seconds
    device: str = "cpu"
    """Whose limits apply, as PyTorch calls it."""


Suite = Callable[[Options], Iterator[Comparison]]
Row = dict[str, Any]


class Pace:
    """How long each candidate took for its work so far in this run, to foresee the next."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._seconds_per_flop: dict[str, float] = {}

    def too_long(self, name: str, comparison: Comparison) -> str | None:
        """Why a call of this candidate would take too long, or None."""
        if comparison.work is None or name not in self._seconds_per_flop:
            return None
        flops = comparison.work.flops * comparison.items
        seconds = flops * self._seconds_per_flop[name]
        if seconds <= self._longest:
            return None
        return (
            f"not measured: a call of {comparison.items} {comparison.unit} would take about "
            f"{seconds:.0f} s here, and only calls of up to {self._longest:g} s are repeated"
        )

    def note(self, comparison: Comparison, timings: Mapping[str, Timing]) -> None:
        """Remember what was measured."""
        if comparison.work is not None:
            for name, timing in timings.items():
                self._seconds_per_flop[name] = 1 / (timing.rate * comparison.work.flops)


def run_suite(name: str, suite: Suite, options: Options, output: Path | None) -> list[Row]:
    """Measure all comparisons of a suite; each one's rows are in ``output`` before the next."""
    rows: list[Row] = []
    pace = Pace(options.longest)
    for comparison in suite(options):
        found = _rows(name, comparison, options, pace)
        for row in found:
            record(row, output)
        rows += found
    return rows


def _rows(suite: str, comparison: Comparison, options: Options, pace: Pace) -> list[Row]:
    long = {
        name: reason
        for name in comparison.candidates
        if (reason := pace.too_long(name, comparison))
    }
    timings = timed(comparison, options, leave_out=long)
    pace.note(comparison, timings)
    head = {
        "benchmark": suite,
        "comparison": comparison.name,
        "unit": comparison.unit,
        "settings": dict(comparison.settings),
    }
    rows: list[Row] = []
    if timings:
        table(f"{suite}: {comparison.name}", timings, f"{comparison.unit}/s")
        limits = measure_limits(comparison.device) if comparison.work else None
        rows = [head | row for row in _measured(comparison, timings, limits)]
        if len({comparison.scale.get(name) for name in timings}) > 1:
            rows.append(head | _fit(comparison, timings))
    why = {**comparison.absent, **long}
    return rows + [head | {"candidate": name, "absent": reason} for name, reason in why.items()]


def timed(
    comparison: Comparison, options: Options, *, leave_out: Mapping[str, str] | None = None
) -> dict[str, Timing]:
    """Time a comparison's candidates in turns of at least ``options.seconds`` each.

    A first call may load or compile, a second tells how often to repeat it.
    """
    chosen = {n: run for n, run in comparison.candidates.items() if n not in (leave_out or {})}
    once = _turns(comparison, chosen, dict.fromkeys(chosen, 1), turns=1, warmup=1)
    counts = {n: max(1, math.ceil(options.seconds / first.median)) for n, first in once.items()}
    timings = _turns(
        comparison,
        chosen,
        counts,
        turns=options.turns,
        warmup=0,
        most_seconds=options.most_seconds,
    )
    return {n: replace(timing, peak_bytes=once[n].peak_bytes) for n, timing in timings.items()}


def _turns(
    comparison: Comparison,
    chosen: Mapping[str, Repeated],
    counts: Mapping[str, int],
    **how: Any,
) -> dict[str, Timing]:
    return in_turns(
        {name: lambda run=run, count=counts[name]: run(count) for name, run in chosen.items()},  # type: ignore[misc]
        items={name: count * comparison.items for name, count in counts.items()},
        clock=comparison.clock,
        **how,
    )


def _measured(
    comparison: Comparison, timings: Mapping[str, Timing], limits: Limits | None
) -> Iterator[Row]:
    first = next(iter(timings.values()))
    for name, plain in figures(timings).items():
        row: Row = {"candidate": name, **plain, "to_first": ratio(timings[name], first).median}
        if name in comparison.psnr_db:
            row["psnr_db"] = comparison.psnr_db[name]
        if name in comparison.about:
            row["about"] = comparison.about[name]
        if comparison.work is not None and limits is not None:
            row["work"], row["limits"] = asdict(comparison.work), asdict(limits)
            row["of_limit"] = limits.seconds(comparison.work) * timings[name].rate
        yield row


def _fit(comparison: Comparison, timings: Mapping[str, Timing]) -> Row:
    """The exponent of seconds over scale, of all points and of each step."""
    scales = [comparison.scale[name] for name in timings]
    seconds = [timing.median * comparison.items / timing.items for timing in timings.values()]
    fit: Row = {"candidate": "fit", "exponent": exponent(scales, seconds)}
    pairs = list(zip(scales, seconds))
    steps = {
        f"{a[0]:g} to {b[0]:g}": exponent([a[0], b[0]], [a[1], b[1]])
        for a, b in itertools.pairwise(pairs)
        if a[0] != b[0]
    }
    above = [step for step, power in steps.items() if power > SUPER_LINEAR]
    return {**fit, "steps": steps, "super_linear": above}


def exponent(scales: list[float], seconds: list[float]) -> float:
    """k of the least-squares fit of seconds = c * scale^k, of two scales at least."""
    return float(np.polyfit(np.log(scales), np.log(seconds), 1)[0])
