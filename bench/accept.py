"""Makes this tree's values the baseline: of this kind of machine, and of the counts of all.

    make bench-accept WHY="the runner hands over frames without a copy"

Gates are measured ten times on an unchanged tree: the middle is the baseline, and twice the largest
distance from it the band. The reason goes into the file; commit it with the change that it is
about.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from bench import compare, gates
from bench.compare import WIDEST_BAND, Baseline, Verdict, expected_from
from bench.gates import QUICK, Gate, Values
from bench.machine import machine, slug
from bench.options import count_argument
from bench.quick import BASELINES, counted, this_run
from bench.suite import Options
from bench.suites import GATES

RUNS = 10
MOST_BUSY = 0.3
"""Share of busy values above which nothing is accepted."""


def measured_often(table: Mapping[str, Gate], options: Options, runs: int) -> list[Values]:
    """Every gate, so many times over."""
    found = []
    for run in range(runs):
        print(f"run {run + 1} of {runs}", file=sys.stderr, flush=True)
        found.append(gates.measure(table, options))
    return found


def busy_share(runs: list[Values]) -> float:
    """Of all values, those that were measured while others used the machine."""
    all_values = [value for run in runs for value in run.values() if not value.absent]
    return sum(value.busy for value in all_values) / max(1, len(all_values))


def baseline_from(runs: list[Values], why: str) -> Baseline:
    """The gates of a baseline, of the runs that measured them; those of none are left out."""
    empty = this_run(machine(), {}, {}, why)
    measured = {name: [run[name].value for run in runs if not run[name].absent] for name in runs[0]}
    expected = {name: expected_from(values) for name, values in measured.items() if values}
    return Baseline(machine=empty.machine, why=why, at=empty.at, gates=expected)


def accepted_before(path: Path) -> Baseline | None:
    """What is to be replaced; None where there is nothing, or what a merge left is none."""
    try:
        return compare.read(path)
    except (FileNotFoundError, ValueError):
        return None


def changes(fresh: Baseline, before: Path) -> list[Verdict]:
    """What the new baseline changes, as a table to be read before it is committed."""
    old = accepted_before(before)
    return [
        Verdict(
            name=name,
            found=f"{one.value:.3f} - {one.band:.1%}",
            expected=f"{old.gates[name].value:.3f}" if old and name in old.gates else "",
            says="gates" if one.gates else f"too noisy to gate (above {WIDEST_BAND:.1%})",
        )
        for name, one in fresh.gates.items()
    ]


def main(arguments: list[str] | None = None) -> int:
    """Measure and write both baselines; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--why", required=True, help="what changed, in a sentence")
    parser.add_argument(
        "--runs", type=count_argument, default=RUNS, help="how often the gates are measured"
    )
    parser.add_argument("--counts-only", action="store_true", help="leave the gates as they are")
    given = parser.parse_args(arguments)
    if not given.why.strip():
        parser.error("say why: make bench-accept WHY='what changed, in a sentence'")
    fresh = None if given.counts_only else gates_of(given.why, given.runs)
    accept_counts(BASELINES / compare.COUNTS, given.why)
    if fresh:
        compare.write(BASELINES / f"{slug(machine())}.json", fresh)
    return 0


def accept_counts(path: Path, why: str) -> None:
    """Replace the counts; where they are the same, so stay the machine and the reason of old."""
    fresh = this_run(machine(), {}, counted(), why)
    old = accepted_before(path)
    if old is not None and old.counts == fresh.counts:
        print(f"{path} holds these counts already")
        return
    compare.write(path, fresh)


def gates_of(why: str, runs: int) -> Baseline:
    """Measures all gates so often and shows what changes. Ends the program on a busy machine."""
    found = measured_often(GATES, QUICK, runs)
    if (share := busy_share(found)) > MOST_BUSY:
        sys.exit(f"refused: {share:.0%} of the values were disturbed; use a quiet machine")
    fresh = baseline_from(found, why)
    rows = changes(fresh, BASELINES / f"{slug(machine())}.json")
    compare.show(rows, f"accepted, {runs} runs each")
    return fresh


if __name__ == "__main__":
    sys.exit(main())
