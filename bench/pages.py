"""Writes docs/performance.md, its charts and the README's part from bench/results/.

    python -m bench.pages            after a run; commit what it writes with the results

Nothing on those pages is typed by hand; a test writes them again and compares. Of each candidate
the latest row counts, and of a comparison whose first line was measured again that run alone.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bench import aims, charts
from bench.gpu_tables import gpu_lines
from bench.machine import ROOT, cores_in_words, in_few_words, in_words, slug
from bench.suite import Row
from bench.suites import PROGRAMS, SUITES
from cyclegan.files import write_whole

BEGIN, END = "<!-- performance: written by bench/pages.py -->", "<!-- end of performance -->"
HEAD = """# Performance

Written by `python -m bench.pages` from the rows in [bench/results](../bench/results); `make bench`
measures them again on any machine. Candidates of a table took turns in one run. Times are of one
item: the median, and the turns at 20 and 80 %. *Ratio* is to the first line, taken turn by turn.
*PSNR* is to float32 PyTorch, of frames compared before anything was timed. *Of limit* is the share
of what the machine's rates of copying and of matrix products, measured in the same run, would
allow. What counts as more than it does may pass it: 3x3 convolutions by Winograd's filtering take
fewer products than are counted, and products of 8 bits are not among those measured. **busy** marks
a figure that others disturbed.
"""
AIMS_HEAD = """## Aims

What the project wants to reach, beside what the committed results say. Where there are several
figures, of three sizes for example, the worst counts. What needs a faster CPU or another GPU than
the machine has is shown and not judged.

| aim | | measured | machine | |
| --- | --- | --: | --- | --- |"""
README_HEAD = """Frames per second, uint8 frames to uint8 frames, and in brackets the ratio to
the first line. The candidates of a machine took turns in one run."""
NO_QUESTION = ("engine", "threads", "turns", "repeats", "variants")
"""Settings that a run finds, or that say how often it measures, and which variants: rows that
differ in these alone answer one question."""
Report = Mapping[str, Any]
"""What make gpu has written: facts, and tables by their names."""
CHART = "performance.svg"
NO_PEERS = "Peers have not been compared on a quiet machine yet."


def read(folder: Path) -> list[Row]:
    """All rows of all files, the oldest first. Raises ValueError for a line that is none."""
    rows = [row for path in sorted(folder.glob("*.jsonl")) for row in _rows_of(path)]
    return sorted(rows, key=lambda row: str(row["at"]))


def _rows_of(path: Path) -> Iterator[Row]:
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise ValueError(
                f"{path}, line {number} is no row: {error}; where a run was killed while it wrote, "
                "take that line out"
            ) from error


def _report(path: Path) -> Report:
    try:
        report: Report = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no report: {error}; restore it, or make gpu anew") from error
    return report


def latest(rows: Iterable[Row]) -> list[Row]:
    """The last row of each candidate, in the order of the first.

    Where what others stand beside was measured again, its run takes the place of those before.
    Rows without a comparison, of a benchmark that has comparisons by now, are left out; and so is
    a program's failure that rows of it follow.
    """
    rows = list(rows)
    found: dict[str, dict[str | None, Row]] = {}
    for row in rows:
        candidates = found.setdefault(_question(row), {})
        if row.get("to_first") == 1:  # exactly: a run's first row, and its alone
            candidates.clear()
        candidates[row.get("candidate")] = row
    renewed = {row["benchmark"] for row in rows if "comparison" in row}
    last = {row["benchmark"]: row for row in rows}
    return [
        row
        for row in itertools.chain.from_iterable(map(dict.values, found.values()))
        if ("comparison" in row or row["benchmark"] not in renewed)
        and (not _is_failure(row) or row is last[row["benchmark"]])
    ]


def _is_failure(row: Row) -> bool:
    """Whether it is all that there is of a program's run: see run_program in bench/run.py."""
    return "absent" in row and not {"candidate", "settings"} & row.keys()


def _question(row: Row) -> str:
    settings = row.get("settings", {}).items()
    asked = {name: value for name, value in settings if name not in NO_QUESTION}
    return json.dumps([row["benchmark"], row.get("comparison"), asked], sort_keys=True)


def by_machine(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows by the kind of machine that they were measured on."""
    machines: dict[str, list[Row]] = {}
    for row in rows:
        machines.setdefault(slug(row["machine"]), []).append(row)
    return {name: latest(found) for name, found in sorted(machines.items())}


def page(machines: dict[str, list[Row]], gpus: Mapping[str, Report]) -> str:
    """The whole of docs/performance.md."""
    parts = [HEAD, AIMS_HEAD, *_aim_lines(machines, gpus), ""]
    for name, rows in machines.items():
        parts += [f"## {_title(rows)}\n", _measured_with(rows)]
        if charts.bars(rows):
            parts.append(f"![Frames per second of every way to run it](performance-{name}.svg)\n")
        for key, group in _sections(rows).items():
            parts += [f"### {key}\n", "\n".join(_section_lines(group)).strip("\n") + "\n"]
    for name, report in gpus.items():
        where = f"../bench/results/{name}/gpu.md"
        found = "\n".join(gpu_lines(report, where)) or f"[Measured by make gpu]({where})."
        parts.append(f"## {_gpu_name(name, report)}\n\n{found}\n")
    return "\n".join([*parts, "## What was not measured\n", *_unmeasured(machines, gpus)]) + "\n"


def _aim_lines(machines: dict[str, list[Row]], gpus: Mapping[str, Report]) -> Iterator[str]:
    places = [*map(_place, machines.values()), *itertools.starmap(_gpu_place, gpus.items())]
    yield from (f"| {' | '.join(cells)} |" for cells in aims.lines(places))


def _place(rows: list[Row]) -> aims.Place:
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(row["benchmark"], []).append(row)
    sets = rows[-1]["machine"]["instruction_sets"]
    return aims.Place(title=_title(rows), rows=by_name, has=tuple(sets))


def _gpu_place(name: str, report: Report) -> aims.Place:
    tables = {f"gpu {table}": rows for table, rows in report.items() if table != "facts"}
    gpu = _gpu_name(name, report)
    return aims.Place(title=gpu, rows=tables, has=(gpu,))


def _gpu_name(name: str, report: Report) -> str:
    """As its driver says it, or its folder's."""
    return str(report.get("facts", {}).get("gpu", name))


def _ordered(rows: list[Row]) -> list[Row]:
    order = [*SUITES, *PROGRAMS]
    known = {name: number for number, name in enumerate(order)}
    return sorted(rows, key=lambda row: known.get(row["benchmark"], len(order)))


def _sections(rows: list[Row]) -> dict[str, list[Row]]:
    """Rows by their title: a candidate that came later stands among the others."""
    sections: dict[str, list[Row]] = {}
    for row in _ordered(rows):
        sections.setdefault(_section(row), []).append(row)
    return sections


def _section(row: Row) -> str:
    name = f"{row['benchmark']}: {row['comparison']}" if "comparison" in row else row["benchmark"]
    settings = row.get("settings", {})
    found = [settings[key] for key in ("variant", "clip", "mode", "size") if key in settings]
    if "height_px" in settings:
        size = [settings["height_px"], settings["width_px"]]
        found += [size] * (_size(size) not in name)
    named = (("width", "{} channels"), ("blocks", "{} blocks"), ("seed", "seed {}"))
    shape = [words.format(settings[key]) for key, words in named if key in settings]
    return ", ".join([name, *map(_size, found), *shape])


def _size(value: object) -> str:
    """A name, or a size: of one side, or height and width."""
    if isinstance(value, int):
        return f"{value}x{value}"
    return "x".join(map(str, reversed(value))) if isinstance(value, list) else str(value)


def _title(rows: list[Row]) -> str:
    machine = rows[-1]["machine"]
    gpu = f", {machine['gpu']['name']}" if machine.get("gpu") else ""
    revision = f" ({machine['revision']})" if machine.get("revision") else ""
    return f"{machine['cpu']}{revision}, {cores_in_words(machine)}{gpu}"


def _measured_with(rows: list[Row]) -> str:
    days = sorted({row["at"][:10] for row in rows})
    commits = sorted({row["machine"].get("commit") or "unknown" for row in rows})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return f"{in_words(rows[-1]['machine'])}. Measured {when}; commit {', '.join(commits)}.\n"


def _section_lines(rows: list[Row]) -> Iterator[str]:
    if found := _found(rows):
        yield f"{found}\n"
    if "comparison" not in rows[0]:
        for row in rows:
            yield from _plain_lines(row)
        return
    timed = [row for row in rows if "p50_ms" in row]
    if timed:
        yield f"| | {timed[0]['unit']}/s | ms | 20 to 80 % | ratio | PSNR dB | of limit | |"
        yield "| --- | --: | --: | --: | --: | --: | --: | --- |"
        yield from map(_line, timed)
    for row in rows:
        if "exponent" in row:
            yield f"\nExponent {row['exponent']:.2f}; {_steps(row)}."
    yield from (
        f"\nAbsent: {row['candidate']}: {row['absent']}." for row in rows if "absent" in row
    )


def _found(rows: list[Row]) -> str:
    """The engine, and threads where they are not the machine's cores."""
    cores = rows[0]["machine"]["cores"]
    settings = [{"threads": cores, **row.get("settings", {})} for row in rows]
    engines = dict.fromkeys(one["engine"] for one in settings if "engine" in one)
    threads = dict.fromkeys(str(one["threads"]) for one in settings)
    said = [f"Engine: {'; '.join(engines)}."] if engines else []
    said += [f"Threads: {', '.join(threads)}."] if list(threads) != [str(cores)] else []
    return " ".join(said)


def _line(row: Row) -> str:
    cells = (
        row["candidate"],
        _number(row["per_second"]),
        _number(row["p50_ms"]),
        f"{_number(row['p20_ms'])} to {_number(row['p80_ms'])}",
        f"{row['to_first']:.2f}",
        f"{row['psnr_db']:.1f}" if "psnr_db" in row else "",
        f"{row['of_limit']:.0%}" if "of_limit" in row else "",
        " ".join(filter(None, ["**busy**" * row["busy"], row.get("about", "")])),
    )
    return f"| {' | '.join(cells)} |"


def _steps(row: Row) -> str:
    steps = ", ".join(f"{step}: {power:.2f}" for step, power in row["steps"].items())
    above = f"; grows faster than the work: {', '.join(row['super_linear'])}" * bool(
        row["super_linear"]
    )
    return f"by step {steps}{above}"


def _plain_lines(row: Row) -> Iterator[str]:
    """A row of a program of its own: its figures, then its rows and its timings."""
    if "absent" in row:
        yield f"Absent: {row['absent']}"
    for name, value in row.items():
        if isinstance(value, int | float):
            yield f"- {name.replace('_', ' ')}: {_number(value)}"
    if "rows" in row:
        yield from _table(row["rows"])
    if "timings" in row:
        yield "\n| | per second | ms | |\n| --- | --: | --: | --- |"
        for name, timing in row["timings"].items():
            rate = timing["per_second"]
            busy = "**busy**" if timing.get("busy") else ""
            yield f"| {name} | {_number(rate)} | {_number(1e3 / rate)} | {busy} |"
        yield ""


def _table(rows: Mapping[str, Row] | list[Row]) -> Iterator[str]:
    """Rows with equal columns; those that have names begin with them."""
    named = rows.items() if isinstance(rows, Mapping) else [("", row) for row in rows]
    for number, (name, row) in enumerate(named):
        cells = {"": name, **row} if name else row
        if number == 0:
            yield f"\n| {' | '.join(cells).replace('_', ' ')} |\n|{' --: |' * len(cells)}"
        yield f"| {' | '.join(map(_cell, cells.values()))} |"


def _cell(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "", True: "yes", False: "no"}[value]
    return _number(value) if isinstance(value, int | float) else str(value)


def _unmeasured(machines: dict[str, list[Row]], gpus: Mapping[str, Report]) -> Iterator[str]:
    if not gpus:
        yield "- Any GPU: `make gpu` measures one; no result of it is committed."
    for name, rows in machines.items():
        have = {row["benchmark"] for row in rows}
        if missing := [suite for suite in (*SUITES, *PROGRAMS) if suite not in have]:
            yield f"- {name}: {', '.join(missing)}."


def readme_part(machines: dict[str, list[Row]], gpus: Mapping[str, Report]) -> str:
    """The README's part: the peers' first comparison, a column for each machine that has one, and
    what GPUs do with one picture.
    """
    columns = [chosen for rows in machines.values() if (chosen := charts.bars(rows))]
    body = "\n".join(_readme_lines(columns)) if columns else NO_PEERS
    for name, report in gpus.items():
        if lines := list(gpu_lines(report, f"bench/results/{name}/gpu.md", ("1x256x256",))):
            body += "\n\n" + "\n".join(lines)
    link = "[All results, their machines, and what was not measured](docs/performance.md)."
    return f"{BEGIN}\n\n{body}\n\n{link}\n\n{END}"


def _readme_lines(columns: list[list[Row]]) -> Iterator[str]:
    """The chart, and a table for all machines that were measured at the same."""
    yield f"{README_HEAD}\n\n![Frames per second on every machine](docs/{CHART})"
    for section in dict.fromkeys(_section(rows[0]) for rows in columns):
        yield from _readme_table(section, [r for r in columns if _section(r[0]) == section])
    if any(row["busy"] for rows in columns for row in rows):
        yield "\n" + r"\* Others disturbed this figure."


def _readme_table(section: str, columns: list[list[Row]]) -> Iterator[str]:
    where = [in_few_words(rows[-1]["machine"]) for rows in columns]
    yield f"\n| {section} | {' | '.join(where)} |"
    yield f"| --- |{' --: |' * len(columns)}"
    cells = [{row["candidate"]: _rate_and_ratio(row) for row in rows} for rows in columns]
    for name in dict.fromkeys(name for column in cells for name in column):
        yield f"| {name} | {' | '.join(column.get(name, '') for column in cells)} |"


def _rate_and_ratio(row: Row) -> str:
    mark = r" \*" if row["busy"] else ""
    return f"{_number(row['per_second'])} ({row['to_first']:.2f}){mark}"


def with_table(readme: str, table: str) -> str:
    """A README with its part replaced. Raises ValueError where the marks are missing."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"README.md must have the lines {BEGIN} and {END}")
    return before + table + after


def _number(value: float) -> str:
    """Three digits, or all that stand before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def written(root: Path = ROOT) -> dict[Path, str]:
    """Every generated file and its content."""
    machines = by_machine(read(root / "bench/results"))
    reports = sorted((root / "bench/results").glob("*/gpu.json"))
    gpus = {path.parent.name: _report(path) for path in reports}
    readme = root / "README.md"
    drawn = {CHART: charts.draw(*machines.values())}
    drawn |= {f"performance-{name}.svg": charts.draw(rows) for name, rows in machines.items()}
    return {
        root / "docs/performance.md": page(machines, gpus),
        readme: with_table(readme.read_text(), readme_part(machines, gpus)),
        **{root / "docs" / name: chart for name, chart in drawn.items() if chart},
    }


def main(arguments: list[str] | None = None) -> None:
    """Write them all."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args(arguments)
    try:
        fresh = written()
    except ValueError as error:
        sys.exit(f"error: {error}")
    for path, text in fresh.items():
        write_whole(path, text)
        print(path.relative_to(ROOT), file=sys.stderr)


if __name__ == "__main__":
    main()
