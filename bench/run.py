"""Runs suites and appends their rows, as JSON lines, to a file.

    python -m bench.run translate peers           into bench/results/<machine>.jsonl
    python -m bench.run translate --size 1280x720 --batch 1
    python -m bench.run --tiny                    every suite once, to standard output
    python -m bench.run --list                    what there is

An interrupted run keeps the comparisons that it has finished.
"""

import argparse
import pkgutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.harness import check_output, record
from bench.machine import RESULTS, ROOT, in_words, machine, slug
from bench.options import count_argument, size_argument
from bench.suite import TINY, Options, Row, run_suite
from bench.suites import PROGRAMS, SUITES
from cyclegan.config import ResnetConfig
from cyclegan.engine.plan_settings import check_sides
from cyclegan.errors import ConfigError, OutputError
from cyclegan.signals import leaving
from cyclegan.sizes import Size

MULTIPLE = ResnetConfig().size_multiple
"""Of the sides of frames: suites give them to bare networks too, which neither pad nor crop."""


def default_output() -> Path:
    """The file of this kind of machine."""
    return RESULTS / f"{slug(machine())}.jsonl"


def multiple_argument(text: str) -> Size:
    """(height, width) that networks take as they are, for ``add_argument``."""
    size = size_argument(text)
    try:
        check_sides(size, MULTIPLE, "as a size of frames")
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return size


@leaving()  # SIGTERM must not leave a program running, nor the files of a suite
def main(arguments: list[str] | None = None) -> list[Row]:
    """Measure, print tables to standard error, and record; returns the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suites", nargs="*", metavar="SUITE", help="of those that --list names")
    parser.add_argument("--list", action="store_true", help="name all suites and programs, and end")
    parser.add_argument("--tiny", action="store_true", help="smallest settings, to see it run")
    parser.add_argument("--turns", type=count_argument, help="how often each candidate is timed")
    parser.add_argument(
        "--size",
        type=multiple_argument,
        nargs="+",
        help=f"WIDTHxHEIGHT of frames, multiples of {MULTIPLE}, in suites",
    )
    parser.add_argument("--batch", type=count_argument, nargs="+", help="frames a call, in suites")
    parser.add_argument("--output", help="a file of JSON lines, or - for standard output")
    given = parser.parse_args(arguments)
    if given.list:
        print(listing())
        return []
    known = [*SUITES, *PROGRAMS]
    if unknown := set(given.suites) - set(known):
        parser.error(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if (given.size or given.batch) and (not given.suites or set(given.suites) & set(PROGRAMS)):
        parser.error(f"--size and --batch are for suites: {', '.join(SUITES)}; name those")
    for name in set(given.suites) & set(PROGRAMS) if given.tiny or given.turns else ():
        parser.error(
            f"--tiny and --turns are for suites; {name} has options of its own: "
            f"python -m {PROGRAMS[name].command[0]} --help"
        )
    options = TINY if given.tiny else Options()
    lists = {"sizes": tuple(given.size or ()), "batches": tuple(given.batch or ())}
    asked = {"turns": given.turns} | lists
    options = replace(options, **{name: value for name, value in asked.items() if value})
    output = None if given.output == "-" else Path(given.output or default_output())
    if given.tiny and not given.output:
        output = None  # figures that mean nothing stay out of the results
    try:
        check_output(output)
    except OutputError as error:
        parser.error(str(error))
    print(f"on {in_words(machine())}", file=sys.stderr)
    rows: list[Row] = []
    short = [name for name, program in PROGRAMS.items() if not program.by_name_alone]
    for name in given.suites or ([*SUITES] if given.tiny else [*SUITES, *short]):
        if name in SUITES:
            rows += run_suite(name, pkgutil.resolve_name(SUITES[name].where), options, output)
        else:
            run_program(name, PROGRAMS[name].command, output)
    return rows


def listing() -> str:
    """Every suite and program, a line each."""
    lines = [f"{name:14}{entry.about}" for name, entry in SUITES.items()]
    for name, program in PROGRAMS.items():
        alone = "; only when it is named" * program.by_name_alone
        lines.append(f"{name:14}{program.about}{alone}")
    return "\n".join(lines)


def run_program(name: str, command: Sequence[str], output: Path | None) -> None:
    """A benchmark with a command line of its own, in a process of its own.

    One that fails is a row with the last line that it said; the others follow.
    """
    to = [] if output is None else ["--output", str(output)]
    done = subprocess.run(
        [sys.executable, "-m", *command, *to], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    sys.stderr.write(done.stderr)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        record({"benchmark": name, "absent": said[-1]}, output)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted; what was finished is recorded")
