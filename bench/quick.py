"""The quick suite of every change: gates and counts against the committed baselines.

    python -m bench.quick                   1 where something fails
    python -m bench.quick --output FILE     and the run's values, for bench.compare

Gates are held against the baseline of this kind of machine, counts against the one of all. On a
machine without a baseline, or one that others keep busy, gates are shown and do not judge.
"""

import argparse
import pkgutil
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from bench import compare, gates
from bench.compare import Baseline, Expected, Verdict
from bench.gates import QUICK, Gate, Values
from bench.machine import Card, machine
from bench.suite import Options
from bench.suites import COUNTS, GATES
from cyclegan.errors import OutputError
from cyclegan.files import check_writable

BASELINES = Path(__file__).with_name("baselines")


def counted() -> dict[str, int]:
    """Every count."""
    counts: dict[str, int] = {}
    for where in COUNTS:
        counts |= pkgutil.resolve_name(where)()
    return counts


def judged(
    table: Mapping[str, Gate], baseline: Baseline, options: Options = QUICK, slow_down: float = 0.0
) -> tuple[Values, list[Verdict]]:
    """Measures all gates; those that fail are measured again before they count as failed."""

    def measure(names: Iterable[str]) -> Values:
        return gates.measure({name: table[name] for name in names}, options, slow_down=slow_down)

    def failing(values: Values) -> set[str]:
        return {v.name for v in compare.gate_verdicts(values, baseline) if v.failed} & set(table)

    values = gates.settled(measure, measure(table), failing)
    return values, compare.gate_verdicts(values, baseline)


def baseline_of(card: Card, folder: Path = BASELINES) -> Baseline:
    """What was accepted on this kind of machine; without gates where nothing was, and then what
    other machines' baselines are, and that they are refused, is printed."""
    known = [path for path in sorted(folder.glob("*.json")) if path.name != compare.COUNTS]
    refused = []
    for path in known:
        baseline = compare.read(path)
        if (reason := compare.refusal(card, baseline)) is None:
            return baseline
        refused.append(f"{path.name} is refused: {reason}")
    print("no baseline of this machine: gates are shown and do not judge", *refused, sep="\n")
    return Baseline(machine=card, why="", at="")


def this_run(card: Card, values: Values, counts: Mapping[str, int], why: str) -> Baseline:
    """A run's values as a baseline of itself."""
    found = {n: Expected(value=m.value, band=0.0) for n, m in values.items() if not m.absent}
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return Baseline(machine=card, why=why, at=at, gates=found, counts=counts, measured=values)


def main(arguments: list[str] | None = None) -> int:
    """Measure, compare, print; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="also write this run's values")
    given = parser.parse_args(arguments)
    if given.output:
        try:
            check_writable(given.output)
        except OutputError as error:
            parser.error(str(error))
    start, card = time.monotonic(), machine()
    counts = counted()
    accepted = compare.read(BASELINES / compare.COUNTS)
    verdicts = compare.count_verdicts(counts, accepted, card)
    values, of_gates = judged(GATES, baseline_of(card))
    verdicts = [*of_gates, *verdicts]
    compare.show(verdicts, f"quick suite, {time.monotonic() - start:.0f} s")
    if given.output:
        run = this_run(card, values, counts, "one run of the quick suite")
        compare.write(given.output, run)
    return int(any(verdict.failed for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
