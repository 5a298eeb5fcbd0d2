"""Results in pytest-benchmark's format, for its tools.

    python -m bench.run peers --output before.jsonl
    python -m bench.pytest_json before.jsonl before.json
    pytest-benchmark compare before.json after.json --group-by fullname
    pytest-benchmark compare before.json --group-by group --histogram=plots/before

pytest-benchmark times one candidate after another; ours take turns. So the timing is ours, and what
its tools read is written with its own statistics.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bench.suite import Row
from cyclegan.errors import OutputError
from cyclegan.files import write_whole

EXTRA = ("busy", "psnr_db", "of_limit")


def timed(rows: Iterable[Row]) -> Iterator[tuple[str, str, Row]]:
    """Group, candidate and timing of everything in ``rows`` that was timed."""
    for row in rows:
        if "comparison" in row and "seconds" in row:
            yield f"{row['benchmark']}: {row['comparison']}", row["candidate"], row
        size = row.get("settings", {}).get("size")
        group = row["benchmark"] if size is None else f"{row['benchmark']}: {size}"
        for candidate, timing in row.get("timings", {}).items():
            yield group, candidate, timing


def benchmarks(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The latest timing of each name, as pytest-benchmark's list."""
    from pytest_benchmark.stats import Stats

    found: dict[str, dict[str, Any]] = {}
    for group, candidate, timing in timed(rows):
        stats = Stats()
        for seconds in timing["seconds"]:
            stats.update(seconds / timing["items"])
        name = f"{group}, {candidate}"
        found[name] = {
            "group": group,
            "name": name,
            "fullname": name,
            "params": None,
            "param": None,
            "extra_info": {key: timing[key] for key in EXTRA if key in timing},
            "options": {"warmup": True},
            "stats": stats.as_dict() | {"iterations": 1},
        }
    return list(found.values())


def convert(rows: list[Row]) -> dict[str, Any]:
    """The whole file: seconds of one item, on the machine of the last row."""
    from pytest_benchmark import __version__

    last = rows[-1]
    return {
        "machine_info": last["machine"],
        "commit_info": {"id": last["machine"].get("commit")},
        "benchmarks": benchmarks(rows),
        "datetime": last["at"],
        "version": __version__,
    }


def main(arguments: list[str] | None = None) -> int:
    """Convert a file; the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 2:
        print("usage: python -m bench.pytest_json RESULTS.jsonl OUTPUT.json", file=sys.stderr)
        return 2
    try:
        rows = [json.loads(line) for line in Path(given[0]).read_text().splitlines()]
    except (OSError, ValueError) as error:
        print(f"error: {given[0]} is no file of JSON lines: {error}", file=sys.stderr)
        return 2
    if not any(timed(rows)):
        print(
            f"error: {given[0]} has no timed rows; python -m bench.run writes some", file=sys.stderr
        )
        return 2
    try:
        write_whole(given[1], json.dumps(convert(rows), indent=1) + "\n")
    except OutputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
