"""Runs suites and appends their rows, as JSON lines, to a file.

    python -m bench.run translate peers           into bench/results/<machine>.jsonl
    python -m bench.run --tiny --output -         everything once, to standard output

An interrupted run keeps the comparisons that it has finished.
"""

import argparse
import pkgutil
import sys
from dataclasses import replace
from pathlib import Path

from bench.card import in_words, machine, slug
from bench.suite import TINY, Options, Row, run_suite
from bench.suites import SUITES

RESULTS = Path(__file__).with_name("results")


def default_output() -> Path:
    """The file of this kind of machine."""
    return RESULTS / f"{slug(machine())}.jsonl"


def main(arguments: list[str] | None = None) -> list[Row]:
    """Measure, print tables to standard error, and record; returns the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    listing = "; ".join(f"{name}: {entry.about}" for name, entry in SUITES.items())
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"all, or of: {listing}")
    parser.add_argument("--tiny", action="store_true", help="smallest settings, to see it run")
    parser.add_argument("--turns", type=int, help="how often each candidate is timed")
    parser.add_argument("--output", help="a file of JSON lines, or - for standard output")
    given = parser.parse_args(arguments)
    if unknown := set(given.suites) - set(SUITES):
        parser.error(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    options = TINY if given.tiny else Options()
    if given.turns:
        options = replace(options, turns=given.turns)
    output = None if given.output == "-" else Path(given.output or default_output())
    print(f"on {in_words(machine())}", file=sys.stderr)
    rows: list[Row] = []
    for name in given.suites or SUITES:
        rows += run_suite(name, pkgutil.resolve_name(SUITES[name].where), options, output)
    return rows


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted; what was finished is recorded")
