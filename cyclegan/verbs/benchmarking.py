"""The verb that measures: bench."""

from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from cyclegan.engine.runners import Precision
from cyclegan.files import check_writable
from cyclegan.shipped import find_model
from cyclegan.sizes import Size, size_text
from cyclegan.targets import check_ending
from cyclegan.verbs import Backend, Model


def bench(
    model: Positional[Model],
    backend: Backend | Literal["all"] = "auto",
    size: Size = (256, 256),
    precision: Precision = "auto",
    batches: tuple[int, ...] = (1, 2, 4, 8, 16),
    seconds: float = 2.0,
    json: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Measure a generator on this machine: latency and frames per second over batch sizes.

    Args:
        backend: what runs the generator; all measures every one, OpenVINO in int8 too, and says why
            one is missing
        size: WIDTHxHEIGHT of the frames, such as 640x272, or one number for a square
        precision: of the arithmetic
        batches: frames handed over at once
        seconds: spent on each batch size, at least
        json: also write the figures to this file (.json)
        plot: also draw frames per second against latency (.svg, .png, .pdf)
    """
    from cyclegan.engine import throughput_report as report
    from cyclegan.engine.runners import BACKENDS
    from cyclegan.engine.throughput import Absent, Speed, measure
    from cyclegan.errors import BackendError

    if plot is not None:
        report.check_plot(plot)
    if json is not None:
        check_ending(json, "JSON", ".json")
    for target in (json, plot):
        if target is not None:
            check_writable(target)
    results: list[Speed | Absent] = []

    def show() -> None:
        settings = {"model": model, "height": size[0], "width": size[1], "precision": precision}
        report.show(results, f"{model}, {size_text(size)}")
        if json is not None:
            report.write_json(json, results, **settings, seconds=seconds)
        if plot is not None:
            report.write_plot(plot, results, f"{model}, {size_text(size)}")

    try:
        for result in measure(
            find_model(model),
            backends=tuple(BACKENDS) if backend == "all" else (backend,),
            size=size,
            precision=precision,
            batches=batches,
            seconds=seconds,
        ):
            results.append(result)
    finally:
        if results:
            show()  # whatever ended it, what was measured is not lost
    if not report.speeds(results):
        raise BackendError("nothing could be measured; the table says why")
