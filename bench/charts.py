"""The chart of every way to run one generator, as SVG that is the same at every drawing."""

import io

from bench.machine import cores_in_words
from bench.suite import Row


def bars(rows: list[Row]) -> list[Row]:
    """What is drawn: the timed rows of the peers' first comparison."""
    peers = [row for row in rows if row["benchmark"] == "peers" and "p50_ms" in row]
    return [row for row in peers if row["comparison"] == peers[0]["comparison"]]


def draw(rows: list[Row]) -> str:
    """Frames per second, a bar each, the range of the turns as whiskers; empty without rows."""
    chosen = bars(rows)
    if not chosen:
        return ""
    import matplotlib
    from matplotlib.figure import Figure

    fixed = {"svg.hashsalt": "cyclegan", "svg.fonttype": "none"}
    with matplotlib.rc_context(fixed):
        figure = Figure(figsize=(7.5, 0.4 * len(chosen) + 1.2), layout="constrained")
        axes = figure.subplots()
        names = [row["candidate"] for row in chosen]
        rates = [row["per_second"] for row in chosen]
        lower = [rate - 1e3 / row["p80_ms"] for rate, row in zip(rates, chosen)]
        upper = [1e3 / row["p20_ms"] - rate for rate, row in zip(rates, chosen)]
        colours = ["C1" if name.startswith("cyclegan") else "C0" for name in names]
        held = axes.barh(names, rates, xerr=(lower, upper), color=colours)
        axes.bar_label(held, fmt="%.3g", padding=4)
        axes.invert_yaxis()
        machine = chosen[0]["machine"]
        where = f"{machine['cpu']}, {cores_in_words(machine)}"
        axes.set(xlabel="frames/s", title=f"{chosen[0]['comparison']}, {where}")
        axes.margins(x=0.12)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()
