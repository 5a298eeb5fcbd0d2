"""What was measured of a generator's speed, for people (table, plot) and for programs (JSON)."""

import dataclasses
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclegan.engine.doctor import diagnose
from cyclegan.engine.throughput import Absent, Speed, recommend
from cyclegan.errors import BackendError, one_line
from cyclegan.files import replacing, write_whole

if TYPE_CHECKING:
    from rich.console import RenderableType

Results = Sequence[Speed | Absent]
PLOTS = (".svg", ".png", ".pdf")
"""Suffixes of plots: other formats of matplotlib's may need programs that are not there."""


def show(results: Results, title: str) -> None:
    """Print the table, and which setting to take."""
    from rich.console import Console

    Console().print(table(results, title))
    if any(speed.busy for speed in speeds(results)):
        print("busy: others were using the machine; measure again to know")
    if best := recommend(speeds(results)):
        precision = "" if best.precision == "auto" else f" --precision {best.precision}"
        print(
            f"recommended: --backend {best.backend}{precision}, batches of {best.batch}: "
            f"{best.frames_per_second:.2f} frames/s, {best.latency_p50_ms:.1f} ms for a batch"
        )


def table(results: Results, title: str) -> "RenderableType":
    """One line a result; the recommended one is marked."""
    from rich.markup import escape
    from rich.table import Table

    best = recommend(speeds(results))
    view = Table(title=escape(one_line(title)))
    view.add_column("engine")
    for name in ("batch", "p50 ms", "p95 ms", "frames/s", "PSNR dB"):
        view.add_column(name, justify="right", no_wrap=True)
    view.add_column("")
    for one in results:
        if isinstance(one, Absent):
            view.add_row(one.backend, *[""] * 5, f"[yellow]{escape(one.reason)}")
            continue
        view.add_row(
            escape(one.engine),
            str(one.batch),
            f"{one.latency_p50_ms:.1f}",
            f"{one.latency_p95_ms:.1f}",
            f"{one.frames_per_second:.2f}",
            _decibels(one.psnr_db),
            _remark(one, best),
        )
    return view


def write_json(path: Path, results: Results, **settings: Any) -> None:
    """Results, settings and the machine. Raises OutputError."""
    machine = dataclasses.asdict(diagnose())
    best = recommend(speeds(results))
    record = {
        "settings": settings,
        "speeds": [_plain(speed) for speed in speeds(results)],
        "absent": [dataclasses.asdict(one) for one in results if isinstance(one, Absent)],
        "recommended": None if best is None else _plain(best),
        "machine": machine,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    write_whole(path, json.dumps(record, indent=1) + "\n")


def write_plot(path: Path, results: Results, title: str) -> None:
    """Frames per second against latency, a line for each engine, a point for each batch size.

    The suffix chooses the format, one of ``PLOTS``. Raises BackendError without matplotlib,
    OutputError.
    """
    check_plot(path)
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for engine in dict.fromkeys(speed.engine for speed in speeds(results)):
        line = [speed for speed in speeds(results) if speed.engine == engine]
        points = [(speed.latency_p50_ms, speed.frames_per_second) for speed in line]
        axes.plot(*zip(*points), marker="o", label=engine)
        for speed, point in zip(line, points):
            axes.annotate(
                str(speed.batch), point, xytext=(4, 4), textcoords="offset points", fontsize=8
            )
    text = one_line(title).encode(errors="backslashreplace").decode()  # names of files in any bytes
    axes.set_title(text, parse_math=False)
    axes.set(xlabel="latency of a batch, ms (numbers: frames in it)")
    fastest = max((speed.frames_per_second for speed in speeds(results)), default=1.0)
    axes.set(ylabel="frames/s", xscale="log", ylim=(0, 1.1 * fastest))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.minorticks_off()
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary)


def check_plot(path: Path) -> None:
    """Raises BackendError where :func:`write_plot` could not write, before anything is measured."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise BackendError(
            f"a plot needs {error.name}; install it by: pip install 'cyclegan-engine[demo]'"
        ) from error
    if path.suffix.lower() not in PLOTS:
        raise BackendError(f"cannot draw {path.name}: its suffix must be one of {', '.join(PLOTS)}")


def speeds(results: Results) -> list[Speed]:
    """What was measured, without what is absent."""
    return [one for one in results if isinstance(one, Speed)]


def _plain(speed: Speed) -> dict[str, Any]:
    exact = speed.psnr_db is not None and math.isinf(speed.psnr_db)
    plain = {**dataclasses.asdict(speed), "busy": speed.busy, "exact": exact}
    return plain | {"psnr_db": None} if exact else plain  # JSON knows no infinity


def _decibels(psnr_db: float | None) -> str:
    if psnr_db is None:
        return ""
    return "equal" if math.isinf(psnr_db) else f"{psnr_db:.1f}"


def _remark(speed: Speed, best: Speed | None) -> str:
    words = (["[green]recommended[/]"] if speed is best else []) + ["[yellow]busy"] * speed.busy
    return " ".join(words)
