"""Everything that needs a GPU, in commands of at most nine minutes: ``python -m bench.gpu``.

Runs on a machine with nothing but PyTorch, Triton, NumPy and pytest:

1. the tests of kernels and runner on the GPU, all files at once; meanwhile torch.compile fills its
   caches with what 3 and 4 need, on all cores;
2. each kernel against a copy's rate (``bench/kernels.py``), as far as it comes until these caches
   are full;
3. whole networks at 256x256, batch 1: forward in PyTorch's layouts and on our kernels, and the
   training step of all four networks (``bench/steps.py``) in float32, and in bfloat16 on our
   kernels;
4. whole networks in larger batches and sizes, forward first;
5. TensorRT, where one is installed (``bench/tensorrt.py``);
6. PyTorch's runner from the host and back (``bench/runner.py``);
7. the rest of 2, until the time is over; at the end again what was measured beside compilers.

    python -m bench.gpu --continue              # measures what is missing, or failed
    python -m bench.gpu --only kernels sizes    # measures these anew, keeps the other rows

Results go to bench/results/<gpu>/gpu.json and gpu.md, row by row. Each of 2 to 7 is a process of
its own with a limit of time, as each test file is: one that hangs or crashes is named among the
facts, and its rows are kept. Ends with status 1 where a test failed or a part did not end by
itself, after all has been measured.
"""

import argparse
import functools
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from bench import kernels, runner, whole_networks
from bench import tensorrt as trt
from bench.machine import ROOT
from bench.prepared import ended, prepare, preparing
from bench.report import Report, brief, gpu_or_exit
from bench.time_limit import at_most
from cyclegan.files import CACHE_VARIABLE
from cyclegan.signals import leaving

CACHE = ROOT / "build/cache"
"""Of what is compiled, unless the environment names a folder: what finds the user's is not needed
then."""
TESTS = (
    *sorted((ROOT / "tests/kernels").glob("on_*.py")),
    ROOT / "tests/engine/test_torch_runner.py",
)
"""Of the kernels, of networks and training steps on them, and of what carries frames to a GPU and
back."""
SECONDS = 540
TEST_SECONDS = 200
PREPARE_SECONDS = 210
"""From the start of all until whole networks are compiled, or compile while they are measured."""
KERNEL_SECONDS = 180
"""From the start of all until kernels wait for whole networks, which are worth more."""
Tests = tuple["subprocess.Popen[bytes]", IO[str]]
"""A file of tests that runs, and what it says: no pipe, which stops who writes when it is full."""
GRACE = 15
"""Seconds between a part's limit and its end by force: its start, and its last words."""


def start_tests(report: Report) -> dict[str, Tests]:
    """TESTS on the GPU, one process a file; those that have passed already are left."""
    return {path.name: _started(path) for path in TESTS if not report.has("tests", file=path.name)}


def _started(path: Path) -> Tests:
    said: IO[str] = TemporaryFile("w+", errors="replace")  # noqa: SIM115 - closed when it is read
    process = subprocess.Popen(
        test_command(path), cwd=ROOT, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
    )
    return process, said


def test_command(path: Path) -> list[str]:
    """pytest on one file, without the suite's settings, which need more than is there."""
    return [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--noconftest",
        "-W", "default", "-o", f"pythonpath={path.parent}", str(path),
    ]  # fmt: skip


def finish_tests(report: Report, running: dict[str, Tests]) -> bool:
    """Waits for them, notes each file's last line, prints what failed. True if nothing did.

    What is not over in time ends by force, with all that it started.
    """
    deadline, good = time.monotonic() + TEST_SECONDS, True
    try:
        for name, (process, said) in running.items():
            why = ended(process, max(1.0, deadline - time.monotonic()))
            with said:
                said.seek(0)
                output = said.read()
            if why == "killed":
                output += f"\nstopped after {TEST_SECONDS} seconds"
            last = (output.strip() or "no output").splitlines()[-1].strip("= ")
            passed = outcome(process.returncode, last)
            if passed is False:
                good = False
                print(output, flush=True)
            result = "not run: " * (passed is None) + last
            report.add("tests", file=name, result=result, passed=passed)
    finally:
        for process, _ in running.values():
            if process.poll() is None:  # an interruption reaches none of them by itself
                ended(process, 0)
    return good


def outcome(status: int, last_line: str) -> bool | None:
    """Whether a file's tests passed, by pytest's status and last words.

    None: all were skipped, as the mutations are, which need the interpreter. A module that skips
    itself ends with the status of one in which nothing was found, which is an error here.
    """
    counted = re.findall(r"\d+ (\w+)", last_line.partition(" in ")[0])
    if status in (0, 5) and "skipped" in counted and "passed" not in counted:
        return None
    return status == 0 and "passed" in counted


def measure_tensorrt(report: Report, deadline: float) -> None:
    """Plans, as far as a TensorRT is here; what is not here, or fails, is a row too."""
    if "tensorrt" in report.tables:
        return
    try:
        with at_most(deadline - time.monotonic()):
            trt.measure(report)
    except Exception as error:  # the kernels' rows must not be lost with it
        trt.add(report, "all", f"stopped: {brief(error)}")


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is measured in a process of its own, so that nothing in it can take the rest along."""

    measure: Callable[[Report, float], None]
    """Adds rows to the report until the deadline, a time of the monotonic clock."""
    end: float
    """Seconds from the start of all at which it must be over."""


LAST = SECONDS - 2 * GRACE
"""Seconds from the start of all at which the last part must be over."""
PARTS = {
    "models": Part(measure=whole_networks.measure_models, end=320),
    "sizes": Part(measure=functools.partial(whole_networks.measure_models, part="sizes"), end=380),
    "tensorrt": Part(measure=measure_tensorrt, end=410),
    "runner": Part(measure=runner.measure, end=450),
    "kernels": Part(measure=kernels.measure, end=LAST),
}
ALL = ("tests", *PARTS)
EARLY = "kernels beside compilers"
STARTED = {
    **PARTS,
    EARLY: Part(measure=functools.partial(kernels.measure, alone=False), end=KERNEL_SECONDS),
}
"""All that a process is started for."""


def command(name: str, path: Path, seconds: float) -> list[str]:
    """Runs a part on the report at ``path``."""
    return [sys.executable, "-m", "bench.gpu", "--part", name, str(path), f"{seconds:.0f}"]


def run_part(report: Report, name: str, seconds: float) -> tuple[Report, bool]:
    """The report with what the part has added, and whether it ended by itself and well.

    A part ends before ``seconds`` are over; one that does not is killed GRACE seconds later. Rows
    that it has finished are on disk.
    """
    process = subprocess.Popen(
        command(name, report.path, seconds), cwd=ROOT, start_new_session=True
    )
    why = ended(process, max(seconds, 0) + GRACE)
    if why == "killed":
        why = f"killed: not over {GRACE} seconds after its limit of {seconds:.0f}"
    report = Report.read(report.path)
    if why:
        report.facts[name] = why
    report.write()
    return report, not why


def begin(only: Sequence[str] | None, goes_on: bool) -> Report:
    """An empty report, or one with the rows that are not to be measured again.

    Ends the program where those that are there cannot be read or joined.
    """
    report = gpu_or_exit("gpu")
    if not (only or goes_on) or not report.path.with_suffix(".json").exists():
        return report
    try:
        before = Report.read(report.path)
        report.go_on_from(before)
    except ValueError as error:
        sys.exit(str(error))
    whole = goes_on and _tensorrt_is_whole(before)

    def stays(table: str, row: dict[str, Any]) -> bool:
        part = whole_networks.part_of(row) if table == "models" else table.removesuffix("_checks")
        if part not in (only or ALL):
            return True
        if part == "tensorrt":
            return whole
        return goes_on and row.get("passed", True) and not row.get("error")

    for table in list(report.tables):
        report.keep(table, functools.partial(stays, table))
    for part in only or (*ALL, EARLY):
        report.facts.pop(part, None)  # how it ended is to be seen anew
    report.write()
    return report


def _tensorrt_is_whole(report: Report) -> bool:
    """Whether it came to its end, and ran something: refusals are results."""
    results = [row["result"].partition(":")[0] for row in report.tables.get("tensorrt", ())]
    return (
        "tensorrt" not in report.facts
        and not {"ran", "refused"}.isdisjoint(results)
        and ("stopped" not in results)
    )


@leaving()  # SIGTERM must not leave parts running, which keep the GPU and write the same report
def main(arguments: list[str] | None = None) -> None:
    """All parts, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=ALL, help="these parts, with all the time")
    parser.add_argument(
        "--continue", dest="goes_on", action="store_true",
        help="keep what the report has, measure what is missing or failed",
    )  # fmt: skip
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)  # how parts are started
    parser.add_argument("--prepare", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    os.environ.setdefault(CACHE_VARIABLE, str(CACHE))  # parts and tests inherit it
    start = time.monotonic()
    if given.part:
        name, path, seconds = given.part
        STARTED[name].measure(Report.read(Path(path)), start + float(seconds))
        return
    if given.prepare is not None:
        prepare(given.prepare)
        return
    wanted = given.only or ALL
    report = begin(given.only, given.goes_on)
    with preparing(report, wanted, PREPARE_SECONDS) as compiles:
        good = "tests" not in wanted or finish_tests(report, start_tests(report))
        report.write()
        left = start + KERNEL_SECONDS - time.monotonic()
        if {"kernels", "models"} <= {*wanted} and left > GRACE:
            # The GPU has nothing else to do, but for what is compiled.
            report, _ = run_part(report, EARLY if compiles else "kernels", left)
    report.write()
    parts = {name: part for name, part in PARTS.items() if name in wanted}
    for name, part in parts.items():
        end = part.end if name != list(parts)[-1] else LAST
        left, well = start + end - time.monotonic(), False
        if left < GRACE:  # it would take that from the next one, to load what it needs
            report.facts[name] = f"not begun: {left:.0f} seconds were left"
            report.write()
        else:
            report, well = run_part(report, name, left)
        good = good and well
    print(report.path.with_suffix(".md"), f"{time.monotonic() - start:.0f} s")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
    # A part: its rows are on disk, and what still compiles in a thread of it is not waited for.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
