"""Shows that the gates hold on this machine: unchanged code passes, slowed code does not.

    python -m bench.prove            ten unchanged runs, then one in which ours takes 20 % longer

Needs a baseline of this machine (``make bench-accept``) and a quiet machine.
"""

import argparse
import sys

from bench import compare
from bench.compare import SLOW_DOWN, Baseline, Verdict
from bench.machine import machine
from bench.options import count_argument
from bench.quick import baseline_of, judged
from bench.suites import GATES


def missed(verdicts: list[Verdict], baseline: Baseline) -> list[str]:
    """Gates of a slowed run that let it through although they are quiet enough to judge."""
    judges = {name for name, expected in baseline.gates.items() if expected.gates}
    return [v.name for v in verdicts if v.name in judges and not v.failed]


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 0 where the gates hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--runs", type=count_argument, default=10, help="of unchanged code, each of which must pass"
    )
    given = parser.parse_args(arguments)
    baseline = baseline_of(machine())
    if not baseline.gates:
        print("make one: make bench-accept WHY=...", file=sys.stderr)
        return 2
    wrong = 0
    for run in range(given.runs):
        _, verdicts = judged(GATES, baseline)
        compare.show(verdicts, f"unchanged, run {run + 1} of {given.runs}")
        wrong += any(verdict.failed for verdict in verdicts)
    _, verdicts = judged(GATES, baseline, slow_down=SLOW_DOWN)
    compare.show(verdicts, f"ours made {SLOW_DOWN:.0%} slower")
    through = missed(verdicts, baseline)
    print(f"{wrong} of {given.runs} unchanged runs failed; the slow-down was missed by {through}")
    return int(wrong > 0 or bool(through))


if __name__ == "__main__":
    sys.exit(main())
