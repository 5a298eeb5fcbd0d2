"""The chart of every way to run one generator, as SVG that is the same at every drawing."""

import io
from typing import TYPE_CHECKING

from bench.machine import in_few_words
from bench.suite import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def bars(rows: list[Row]) -> list[Row]:
    """What is drawn: the timed rows of the peers' first comparison."""
    peers = [row for row in rows if row["benchmark"] == "peers" and "p50_ms" in row]
    return [row for row in peers if row["comparison"] == peers[0]["comparison"]]


def draw(*machines: list[Row]) -> str:
    """Frames per second, a bar each, the range of the turns as whiskers; a panel for each machine.

    Each is of a run of its own: bars are to be compared within a panel. Empty without rows.
    """
    panels = [chosen for rows in machines if (chosen := bars(rows))]
    if not panels:
        return ""
    import matplotlib
    from matplotlib.figure import Figure

    fixed = {"svg.hashsalt": "cyclegan", "svg.fonttype": "none"}
    with matplotlib.rc_context(fixed):
        across = min(2, len(panels))
        down = -(-len(panels) // across)
        tall = 0.4 * max(map(len, panels)) + 1.2
        figure = Figure(figsize=(7.5 * across, tall * down), layout="constrained")
        places = figure.subplots(down, across, squeeze=False).flat
        for axes, chosen in zip(places, panels):
            _draw_panel(axes, chosen)
        for axes in places[len(panels) :]:
            axes.remove()
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()


def _draw_panel(axes: "Axes", chosen: list[Row]) -> None:
    names = [row["candidate"] for row in chosen]
    rates = [row["per_second"] for row in chosen]
    lower = [rate - 1e3 / row["p80_ms"] for rate, row in zip(rates, chosen)]
    upper = [1e3 / row["p20_ms"] - rate for rate, row in zip(rates, chosen)]
    colours = ["C1" if name.startswith("cyclegan") else "C0" for name in names]
    held = axes.barh(names, rates, xerr=(lower, upper), color=colours)
    axes.bar_label(held, fmt="%.3g", padding=4)
    axes.invert_yaxis()
    axes.set_xlabel("frames/s")
    title = f"{chosen[0]['comparison']}\n{in_few_words(chosen[-1]['machine'])}"
    axes.set_title(title, loc="right", fontsize="medium")
    axes.margins(x=0.12)
