"""Rows of a benchmark on one GPU: kept in one JSON and one Markdown file, written row by row."""

import json
import platform
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.machine import RESULTS, machine
from cyclegan.files import write_whole


class Report:
    """Facts about the machine, and tables of rows. Every added row is on disk before the next."""

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self.path, self.facts = path, facts
        self.tables: dict[str, list[dict[str, Any]]] = {}

    @classmethod
    def read(cls, path: Path) -> "Report":
        """What another process has written so far. Raises ValueError where that is no report."""
        kept = path.with_suffix(".json")
        try:
            record = json.loads(kept.read_text())
            report = cls(path, dict(record.pop("facts")))
            report.tables = {name: [dict(row) for row in rows] for name, rows in record.items()}
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise ValueError(
                f"{kept} is damaged ({brief(error)}); expected the facts and rows that a benchmark "
                "writes: restore it, or move it away to begin anew"
            ) from error
        return report

    def has(self, table: str, **values: Any) -> bool:
        """Whether there is a row with these values."""
        return any(values.items() <= row.items() for row in self.tables.get(table, ()))

    def drop(self, table: str, **values: Any) -> None:
        """Rows with these values go."""
        self.keep(table, lambda row: not values.items() <= row.items())

    def keep(self, table: str, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Only the rows that are wanted stay; a table without rows goes."""
        rows = [row for row in self.tables.pop(table, ()) if wanted(row)]
        if rows:
            self.tables[table] = rows

    def go_on_from(self, other: "Report") -> None:
        """Takes over another report's rows, and says of which commits they all are.

        Its facts stay where this one has none of that name: how its parts ended, the rate of a
        copy. Raises ValueError where they are of another PyTorch or Triton.
        """
        for name in ("torch", "triton"):
            if self.facts.get(name) != other.facts.get(name):
                raise ValueError(
                    f"{other.path}.json is of {name} {other.facts.get(name)}, here is "
                    f"{self.facts.get(name)}; move it away to begin anew"
                )
        commits = [*str(other.facts.get("commit")).split(", "), str(self.facts.get("commit"))]
        self.facts = {**self.facts, "commit": ", ".join(dict.fromkeys(commits))}
        self.facts |= {name: f for name, f in other.facts.items() if name not in self.facts}
        self.tables = other.tables

    def add(self, table: str, **row: Any) -> None:
        """One row; prints it as well."""
        self.tables.setdefault(table, []).append(row)
        print(table, *row.values(), flush=True)
        self.write()

    def write(self) -> None:
        """Both files, each replaced whole. Raises OutputError."""
        record = {"facts": self.facts, **self.tables}
        write_whole(self.path.with_suffix(".json"), json.dumps(record, indent=1) + "\n")
        write_whole(self.path.with_suffix(".md"), self.markdown())

    def markdown(self) -> str:
        """Facts as a list, then every table."""
        lines = [f"- {name}: {value}" for name, value in self.facts.items()]
        for name, rows in self.tables.items():
            columns = list(dict.fromkeys(key for row in rows for key in row))
            lines += ["", f"## {name}", "", "| " + " | ".join(columns) + " |"]
            lines.append("|" + " --- |" * len(columns))
            lines += ["| " + " | ".join(_cell(row.get(c)) for c in columns) + " |" for row in rows]
        return "\n".join(lines) + "\n"


def gpu_or_exit(name: str) -> Report:
    """A report under ``results/<gpu>/``; ends the program where PyTorch sees no GPU."""
    if not torch.cuda.is_available():
        sys.exit(
            "no CUDA GPU: torch.cuda.is_available() is false with "
            f"PyTorch {torch.__version__}. This benchmark needs one; run it on a machine that has."
        )
    import triton

    gpu, card = torch.cuda.get_device_name(0), machine()
    facts = {
        "gpu": gpu,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": card["commit"],
        "driver": (card["gpu"] or {}).get("driver"),
        "clocks_mhz": card["clocks_mhz"],
        "torch": torch.__version__,
        "triton": triton.__version__,
        "python": platform.python_version(),
        "l2_mbytes": torch.cuda.get_device_properties(0).L2_cache_size / 1e6,
    }
    folder = re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")
    return Report(RESULTS / folder / name, facts)


def brief(error: Exception) -> str:
    """The error's type and message in one line of a table."""
    return " ".join(f"{type(error).__name__}: {error}".replace("|", "/").split())[:200]


def _cell(value: object) -> str:
    return "" if value is None else str(value)
