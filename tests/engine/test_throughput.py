"""How fast a generator runs here: real engines, tiny settings."""

import io
import json
import math
import signal
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from cyclegan.cli import main
from cyclegan.engine import int8, throughput, throughput_report
from cyclegan.engine.runners import BACKENDS, Backend
from cyclegan.engine.throughput import AS_FAST, Absent, Speed, measure, recommend, sample_frames
from cyclegan.engine.throughput_report import table
from cyclegan.engine.translator import Translator
from cyclegan.errors import BackendError, ConfigError, FrameError, OutputError


@pytest.fixture(scope="module")
def results(model: Path) -> list[Speed | Absent]:
    backends = ("openvino", "torch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8, "LEAST_PSNR_DB", 20.0)  # its weights are random
        return list(measure(model, backends=backends, size=(32, 40), batches=(2, 1), seconds=0.02))


def test_every_backend_at_every_batch_size(results: list[Speed | Absent]) -> None:
    speeds = throughput_report.speeds(results)
    found = [(speed.backend, speed.precision, speed.batch) for speed in speeds]
    engines = [("openvino", "auto"), ("openvino", "int8"), ("torch", "auto")]
    assert found == [(*engine, batch) for engine in engines for batch in (1, 2)]
    for speed in speeds:
        assert 0 < speed.latency_p50_ms <= speed.latency_p95_ms
        assert speed.frames_per_second > 0
        assert speed.psnr_db is not None
        assert speed.psnr_db > (20 if speed.precision == "int8" else 30)


class Clockwork:
    """A translator by a clock of its own: 10 ms a frame alone, 4 ms a frame in a stream."""

    slots, backend, description = 2, "clockwork", "brass"

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        self.now += 0.010 * len(frames)
        return frames

    def submit(self, frames: np.ndarray) -> np.ndarray:
        return frames

    def collect(self, ticket: np.ndarray) -> np.ndarray:
        self.now += 0.004 * len(ticket)
        return ticket


@pytest.mark.parametrize("batch", [1, 3])
def test_latencies_are_of_batches_and_rates_of_frames(
    batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Clockwork()
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: engine.now)
    found = throughput._speed(cast(Translator, engine), "auto", sample_frames(batch, 8, 8), 1, 40)
    assert found.latency_p50_ms == pytest.approx(10 * batch)
    assert found.latency_p95_ms == pytest.approx(10 * batch)
    assert found.frames_per_second == pytest.approx(250)
    assert found.spread == pytest.approx(1)
    assert (found.batch, found.engine) == (batch, "brass")


def speed(rate: float, latency: float, batch: int = 1, **changes: Any) -> Speed:
    one = Speed(
        backend="b", engine="e", precision="auto", batch=batch,
        latency_p50_ms=latency, latency_p95_ms=latency, frames_per_second=rate,
        spread=1.0, psnr_db=40.0,
    )  # fmt: skip
    return replace(one, **changes)


@pytest.mark.parametrize(
    ("precision", "words"),
    [("auto", "--backend b, batches"), ("int8", "--backend b --precision int8, batches")],
)
def test_the_recommendation_names_a_precision_that_was_chosen(
    precision: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    throughput_report.show([speed(50, 1, precision=precision)], "title")
    assert f"recommended: {words}" in capsys.readouterr().out


def test_latency_decides_among_equals() -> None:
    slow, quick, fast = speed(50, 1), speed(98, 10), speed(100, 80)
    assert recommend([slow, quick, fast]) is quick
    assert recommend([slow, speed(90, 10), fast]) is fast
    assert recommend([]) is None


@given(st.lists(st.tuples(st.floats(0.1, 1e4), st.floats(0.1, 1e4)), min_size=1))
def test_nothing_beats_the_recommendation_on_both_counts(pairs: list[tuple[float, float]]) -> None:
    speeds = [speed(rate, latency) for rate, latency in pairs]
    best = recommend(speeds)
    assert best is not None
    top = max(s.frames_per_second for s in speeds)
    assert best.frames_per_second >= AS_FAST * top
    for other in speeds:
        if other.frames_per_second >= AS_FAST * top:
            assert best.latency_p50_ms <= other.latency_p50_ms


def test_a_backend_that_is_missing_or_fails_is_a_result(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> Any:
        raise BackendError("no driver")

    gone = Backend(open=refuses, why_missing=lambda: "not installed")
    broken = Backend(open=refuses, why_missing=lambda: None)
    monkeypatch.setitem(BACKENDS, "gone", gone)
    monkeypatch.setitem(BACKENDS, "broken", broken)
    found = list(measure(model, backends=("gone", "broken"), size=(32, 32), batches=(1,)))
    assert found == [
        Absent(backend="gone", reason="not installed"),
        Absent(backend="broken", reason="no driver"),
    ]


@pytest.mark.parametrize("error", [FrameError, OutputError])
def test_any_error_of_ours_is_of_its_backend_alone(
    error: type[Exception], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> Any:
        raise error("refused")

    broken = Backend(open=refuses, why_missing=lambda: None)
    monkeypatch.setitem(BACKENDS, "broken", broken)
    found = measure(model, backends=("broken", "torch"), size=(32, 32), batches=(1,), seconds=0.01)
    assert [one.backend for one in found] == ["broken", "torch"]


def test_brackets_are_shown_as_they_are() -> None:
    console = Console(width=100, file=io.StringIO())
    console.print(table([Absent(backend="b", reason="in [/usr] or [a]")], "run [/b]"))
    for text in ("in [/usr] or [a]", "run [/b]"):
        assert text in console.file.getvalue()


@pytest.mark.parametrize(
    "wrong",
    [
        {"batches": ()},
        {"batches": (0,)},
        {"batches": (1, 10**20)},
        *({"seconds": seconds} for seconds in (0.0, math.nan, math.inf)),
        {"size": (0, 8)},
        {"size": (5_000_000, 5_000_000)},
    ],
)
def test_settings_are_checked(model: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        next(measure(model, **wrong))


def test_frames_are_pictures_that_move() -> None:
    frames = sample_frames(3, 24, 40, 1)
    assert (frames.shape, frames.dtype) == ((3, 24, 40, 1), np.uint8)
    assert frames.std() > 30
    assert not np.array_equal(frames[0], frames[1])
    assert np.array_equal(frames, sample_frames(3, 24, 40, 1))


def test_frames_are_made_one_after_the_other() -> None:
    """As numbers of 64 bits, sixteen of 4K would take a machine's memory."""
    tracemalloc.start()
    try:
        frames = sample_frames(64, 64, 64)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * frames.nbytes


def test_the_verb_shows_records_and_draws(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record, plot = tmp_path / "speed.json", tmp_path / "speed.svg"
    settings = ["--size", "32", "--batches", "1", "2", "--seconds", "0.02"]
    files = ["--json", str(record), "--plot", str(plot)]
    assert main(["bench", str(model), *settings, *files]) == 0
    assert "recommended: --backend openvino, batches of" in capsys.readouterr().out
    plain = json.loads(record.read_text())
    assert [speed["batch"] for speed in plain["speeds"]] == [1, 2]
    assert plain["recommended"] in plain["speeds"]
    assert {"cpu", "cores", "libraries"} <= plain["machine"].keys()
    assert "<svg" in plot.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_was_measured_survives_an_interruption(
    number: signal.Signals,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object, **__: object) -> Iterator[Speed]:
        yield speed(12.5, 80.0, psnr_db=math.inf)
        signal.raise_signal(number)

    monkeypatch.setattr(throughput, "measure", interrupted)
    record = tmp_path / "speed.json"
    try:
        status: object = main(["bench", str(model), "--json", str(record)])
    except SystemExit as end:
        status = end.code
    assert status == 128 + number
    assert "12.50" in capsys.readouterr().out
    assert (
        json.loads(record.read_text())["speeds"][0] | {"psnr_db": None, "exact": True}
        == (json.loads(record.read_text())["speeds"][0])
    )


def test_nothing_measured_is_an_error(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        throughput, "measure", lambda *_, **__: iter([Absent(backend="b", reason="why not")])
    )
    assert main(["bench", str(model)]) == 1
    told = capsys.readouterr()
    assert "why not" in told.out
    assert "nothing could be measured" in told.err


def test_a_plot_that_cannot_be_drawn_is_refused_before_anything_is_measured(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("speed.xyz", "speed.pgf"):  # matplotlib draws the second where LaTeX is installed
        assert main(["bench", str(model), "--plot", str(tmp_path / name)]) == 1
        assert "suffix must be one of .svg, .png, .pdf" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a $x^^y$ b.onnx", "n\udcfc.onnx"])
def test_a_plot_is_called_as_the_model_is(name: str, tmp_path: Path) -> None:
    plot = tmp_path / "speed.svg"
    throughput_report.write_plot(plot, [speed(12.5, 80.0)], name)
    assert name.replace("\udcfc", "\\udcfc") in plot.read_text()


def test_the_model_is_not_written_over(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = model.read_bytes()
    assert main(["bench", str(model), "--json", str(model)]) == 1
    assert "ends with .json" in capsys.readouterr().err
    assert main(["bench", str(model), "--plot", str(model)]) == 1
    assert "cannot draw" in capsys.readouterr().err
    assert model.read_bytes() == before


@pytest.mark.parametrize("flag", ["--json", "--plot"])
def test_a_place_that_cannot_be_written_is_told_before_anything_is_measured(
    flag: str,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(throughput, "measure", lambda *_, **__: pytest.fail("was measured"))
    (tmp_path / "file").touch()
    name = "speed.json" if flag == "--json" else "speed.svg"
    assert main(["bench", str(model), flag, str(tmp_path / "file" / "deep" / name)]) == 1
    assert f"{name}: Not a directory" in capsys.readouterr().err
