"""Results in pytest-benchmark's format, for its tools.

    python -m bench.pytest_json bench/results/MACHINE.jsonl run.json
    pytest-benchmark compare run.json other.json --group-by group
    pytest-benchmark compare run.json --histogram

pytest-benchmark times one candidate after another; ours take turns. So the timing is ours, and what
its tools read is written with its own statistics.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.suite import Row


def benchmarks(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The timed rows, the latest of each name, as pytest-benchmark's list."""
    from pytest_benchmark.stats import Stats

    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        if "comparison" not in row or "seconds" not in row:
            continue
        stats = Stats()
        for seconds in row["seconds"]:
            stats.update(seconds / row["items"])
        group = f"{row['benchmark']}: {row['comparison']}"
        name = f"{group}, {row['candidate']}"
        found[name] = {
            "group": group,
            "name": name,
            "fullname": name,
            "params": None,
            "param": None,
            "extra_info": {key: row[key] for key in ("busy", "psnr_db", "of_limit") if key in row},
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
    rows = [json.loads(line) for line in Path(given[0]).read_text().splitlines()]
    if not any("comparison" in row and "seconds" in row for row in rows):
        print(
            f"error: {given[0]} has no timed rows; python -m bench.run writes some", file=sys.stderr
        )
        return 2
    Path(given[1]).write_text(json.dumps(convert(rows), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
