"""The losses of a run, read from its log and drawn as SVG that takes the colours of its page."""

import csv
import io
import math
from array import array
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cyclegan.errors import DataError

_INK = "#010203"  # replaced by the text colour of the page
_COLOURS = ("#e4793a", "#3a86d8", "#43a66b", "#a865c9")


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Losses of one kind over the steps."""

    title: str
    svg: str


def loss_charts(path: Path) -> list[Chart]:
    """One chart for each kind of loss: those of ``path`` whose names differ in the last part."""
    steps, losses = read_losses(path)
    kinds: dict[str, list[str]] = defaultdict(list)
    for name in losses:
        kinds[name.rpartition("_")[0] or name].append(name)
    return [
        Chart(title=kind.replace("_", " "), svg=_chart(steps, {n: losses[n] for n in names}))
        for kind, names in kinds.items()
    ]


def read_losses(path: Path) -> tuple[Any, dict[str, Any]]:
    """Steps and the losses by name, float64 (T,), from a CSV file; seconds are left out.

    Raises DataError if the file is missing, has no rows, or holds something else than numbers.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            names, numbers = next(rows, []), array("d")
            for row in filter(None, rows):
                if len(row) != len(names):
                    raise ValueError(f"{len(row)} columns in line {rows.line_num}")
                numbers.extend(map(float, row))
        table = np.array(numbers).reshape(-1, len(names))
        if not len(table):
            raise ValueError("it has no rows")
        columns = dict(zip(names, table.T))
        steps = columns.pop("step")
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise DataError(
            f"{path} is no table of losses ({error!r}); expected CSV with the columns step, "
            "seconds and losses, and at least one row"
        ) from error
    columns.pop("seconds", None)
    return steps, columns


def smoothed(values: Any, span: int) -> Any:
    """Running mean over up to ``span`` values around each, fewer near the ends and past NaN."""
    known = np.isfinite(values)
    first = np.arange(len(values)) - span // 2
    ends = np.clip([first, first + span], 0, len(values))

    def total(numbers: Any) -> Any:
        before, until = np.concatenate([[0], np.cumsum(numbers)])[ends]
        return until - before

    counts = total(known)
    return np.where(counts, total(np.where(known, values, 0)) / np.maximum(counts, 1), math.nan)


def _chart(steps: Any, losses: Mapping[str, Any]) -> str:
    import matplotlib
    from matplotlib.figure import Figure as Drawing

    style: Any = {"svg.fonttype": "none", "svg.hashsalt": "cyclegan", "font.size": 9}
    with matplotlib.rc_context(style):
        drawing = Drawing(figsize=(4.2, 2.4), layout="constrained")
        axes = drawing.add_subplot()
        every = max(1, len(steps) // 400)
        span = max(1, len(steps) // 25)
        for (name, values), colour in zip(losses.items(), _COLOURS * len(losses)):
            axes.plot(steps[::every], values[::every], color=colour, alpha=0.25, linewidth=0.8)
            axes.plot(
                steps[::every],
                smoothed(values, span)[::every],
                color=colour,
                linewidth=1.8,
                label=name.rpartition("_")[2] if len(losses) > 1 else None,
            )
        _dress(axes, np.concatenate(list(losses.values())), legend=len(losses) > 1)
        text = io.StringIO()
        drawing.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, "currentColor")


def _dress(axes: Any, values: Any, *, legend: bool) -> None:
    finite = values[np.isfinite(values)]
    if finite.size:
        axes.set_ylim(min(0, finite.min()), max(float(np.percentile(finite, 99.5)), 1e-6) * 1.08)
    axes.set_xlabel("step", color=_INK)
    axes.tick_params(colors=_INK, length=3)
    axes.grid(axis="y", color=_INK, alpha=0.12, linewidth=0.6)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_INK)
        spine.set_alpha(0.4)
    if legend:
        axes.legend(frameon=False, labelcolor=_INK, loc="upper right", ncols=2)
