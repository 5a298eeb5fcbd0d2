"""Gates: ratios within one run, ours to a reference, that a change may not lower.

Each is the ratio of two candidates of one comparison, taken turn by turn. ``bench/suites.py`` lists
them, ``bench/compare.py`` holds them against a baseline.
"""

import pkgutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from bench.harness import Timing, ratio
from bench.suite import Comparison, Options, Repeated, Suite, timed

QUICK = Options(
    width=32, blocks=3, sizes=((128, 128),), batches=(1,), turns=15, seconds=0.1, most_seconds=12.0
)
"""Turns long enough to be told apart, a network that is neither all launch nor all arithmetic."""
BUDGET = 60.0
"""Seconds after which a machine that others keep busy is spared the gates that are left."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A row of the table of gates."""

    where: str
    """``module:function`` of a suite; its first comparison is measured."""
    ours: str
    """A candidate of it."""
    reference: str
    """Another, that the gate's value is the rate over."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A gate's value in one run."""

    value: float = 0.0
    """Times as fast as the reference."""
    spread: float = 1.0
    """p80 over p20 of the turns' ratios."""
    others: float | None = None
    """Share of the machine's CPU time that others used meanwhile, where that is known."""
    busy: bool = False
    """Whether either says that the machine was not ours alone."""
    absent: str | None = None
    """Why there is no value, or None."""


Values = dict[str, Measured]
SPARED = f"the machine is busy, and {BUDGET:g} s are over"


def measure(
    gates: Mapping[str, Gate], options: Options = QUICK, *, slow_down: float = 0.0
) -> Values:
    """Every gate's value; those of one comparison are measured together.

    ``slow_down`` makes our side take that share longer, to see that the gates catch it.
    """
    values: Values = {}
    start = time.monotonic()
    for where in dict.fromkeys(gate.where for gate in gates.values()):
        here = {name: gate for name, gate in gates.items() if gate.where == where}
        if time.monotonic() - start > BUDGET and any(value.busy for value in values.values()):
            values |= dict.fromkeys(here, Measured(absent=SPARED))
            continue
        values |= of_suite(pkgutil.resolve_name(where), here, options, slow_down)
    return {name: values[name] for name in gates}


def of_suite(
    suite: Suite, gates: Mapping[str, Gate], options: Options, slow_down: float = 0.0
) -> Values:
    """The values of gates on one suite's first comparison."""
    comparisons = suite(options)
    comparison = next(comparisons)
    candidates = dict(comparison.candidates)
    for gate in gates.values():
        if slow_down and gate.ours in candidates:
            candidates[gate.ours] = _slower(comparison.candidates[gate.ours], slow_down)
    wanted = {name for gate in gates.values() for name in (gate.ours, gate.reference)}
    unused = {name: "no gate asks for it" for name in candidates if name not in wanted}
    timings = timed(replace(comparison, candidates=candidates), options, leave_out=unused)
    next(comparisons, None)  # lets the suite close what it opened
    return {name: _value(gate, comparison, timings) for name, gate in gates.items()}


def _slower(run: Repeated, share: float) -> Repeated:
    def slower(count: int) -> None:
        start = time.perf_counter()
        run(count)
        time.sleep(share * (time.perf_counter() - start))

    return slower


def _value(gate: Gate, comparison: Comparison, timings: Mapping[str, Timing]) -> Measured:
    for name in (gate.ours, gate.reference):
        if name in comparison.absent:
            return Measured(absent=f"{name}: {comparison.absent[name]}")
    found = ratio(timings[gate.ours], timings[gate.reference])
    return Measured(
        value=found.median,
        spread=found.spread,
        others=found.others.share,
        busy=found.busy,
    )


def settled(
    measure_again: Callable[[Iterable[str]], Values],
    first: Values,
    failing: Callable[[Values], set[str]],
    attempts: int = 2,
) -> Values:
    """``first``, where gates that fail are measured again, and the best of their values counts.

    What slowed the code down does so every time; what slowed the machine down does not. A repeat on
    a busy machine, which does not judge, takes a failure back only where it passes.
    """
    values = dict(first)
    for _ in range(attempts):
        if not (names := failing(values)):
            break
        again = measure_again(names)
        slow = failing(values | {name: replace(again[name], busy=False) for name in names})
        values |= {
            name: max(values[name], again[name], key=lambda m: m.value)
            for name in names
            if not (again[name].busy and name in slow)
        }
    return values
