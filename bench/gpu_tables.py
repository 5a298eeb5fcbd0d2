"""What the results of ``make gpu`` say of whole networks and of the runner, as tables of a page."""

from collections.abc import Iterator, Mapping
from typing import Any

from bench import steps, whole_networks
from bench.runner import FORMS
from bench.suite import Row

TASKS = {
    "forward": "generator, half precision, {}, 9 blocks",
    "step": "training step, {}, all four networks",
}
VARIANTS = {"forward": [*whole_networks.VARIANTS], "step": [*steps.VARIANTS]}
"""In the order of a table; the first is what ratios are to."""
ALONE = FORMS[0]
HEAD = """{gpu} ({date}, PyTorch {torch}), by [make gpu]({link}). Ratios are to the
first line; float32 is without TF32; sizes are batch, height and width."""


def gpu_lines(report: Mapping[str, Any], link: str, sizes: tuple[str, ...] = ()) -> Iterator[str]:
    """Head, and tables, of networks of these sizes or of all; nothing where none was measured."""
    networks = [row for row in report.get("models", ()) if row.get("ms") is not None]
    found = dict.fromkeys(row["size"] for row in networks)
    parts = [
        *(
            _networks(task, size, [r for r in networks if (r["task"], r["size"]) == (task, size)])
            for task in TASKS
            for size in sizes or found
        ),
        _runner([row for row in report.get("runner", ()) if row.get("frames_per_s")]),
    ]
    if not any(parts):
        return
    yield HEAD.format(**report["facts"], link=link)
    for part in parts:
        yield from part


def _networks(task: str, size: str, rows: list[Row]) -> list[str]:
    """In order: what was measured again stands at the end of its file."""
    head = ["", f"| {TASKS[task].format(size)} | ms | |", "| --- | --: | --: |"]
    found = {row["variant"]: row["ms"] for row in rows}
    first = found.get(VARIANTS[task][0])
    lines = [
        f"| {name} | {found[name]:.3g} | {_share(first and first / found[name])} |"
        for name in dict.fromkeys([*VARIANTS[task], *found])
        if name in found
    ]
    return [*head, *lines] if lines else []


def _runner(rows: list[Row]) -> list[str]:
    """Frames and planes; the network alone is what their share is of."""
    names = {True: "compiled", False: "not compiled"}
    lines = [
        f"| {names[row['compiled']]}, {row['size']}, {row['form']} "
        f"| {row['frames_per_s']:,.0f} | {_share(row['of_network'])} |"
        for row in rows
        if row["form"] != ALONE
    ]
    head = ["", "| runner, from the host and back | frames/s | of the network alone |"]
    return [*head, "| --- | --: | --: |", *lines] if lines else []


def _share(value: float | None) -> str:
    """Empty where what it is of was not measured."""
    return "" if value is None else f"{value:.2f}"
