"""The runner's benchmark, on a CPU in the GPU's place."""

import contextlib
import importlib
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cyclegan.engine import plane_network
from cyclegan.engine.runners import lanes
from cyclegan.engine.runners.replays import Replays

ROOT = Path(__file__).parents[2]


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT)
    module = importlib.import_module("bench.runner")
    tiny = module.new_generator(4, 1)
    monkeypatch.setattr(module, "new_generator", lambda width, blocks: tiny)
    monkeypatch.setattr(module, "SIZES", ((2, 32, 48),))
    monkeypatch.setattr(module, "SECONDS", 0.01)
    monkeypatch.setattr(module.torch, "compile", lambda network, dynamic: network)
    return module


def report_in(folder: Path) -> Any:
    return importlib.import_module("bench.report").Report(folder / "gpu", {})


def test_each_form_is_a_row_beside_the_network(runner: Any, tmp_path: Path) -> None:
    report = report_in(tmp_path)
    runner.measure(report, time.monotonic() + 60, "cpu")
    rows = report.tables["runner"]
    forms = ["network alone", "RGB frames", "NV12 planes"]
    assert [(row["compiled"], row["form"]) for row in rows] == [
        (compiled, form) for compiled in (False, True) for form in forms
    ]
    assert all(row["error"] == "" and row["frames_per_s"] > 0 for row in rows)
    assert [row["of_network"] for row in rows if row["form"] == forms[0]] == [1.0, 1.0]
    runner.measure(report, time.monotonic() + 60, "cpu")
    assert len(report.tables["runner"]) == len(rows) == 6, "what is there is not measured again"


def test_a_form_that_is_lacking_is_measured_beside_the_others(runner: Any, tmp_path: Path) -> None:
    """As after ``--continue``, which drops rows that failed, and after an end by force."""
    report = report_in(tmp_path)
    runner.measure(report, time.monotonic() + 60, "cpu")
    first = report.tables["runner"]
    kept = [row for row in first if row["compiled"] or row["form"] != "RGB frames"]
    report.tables["runner"] = list(kept)
    runner.measure(report, time.monotonic() + 60, "cpu")
    *before, found = report.tables["runner"]
    assert before == kept
    assert (found["compiled"], found["form"], found["error"]) == (False, "RGB frames", "")
    assert found["of_network"] > 0


@pytest.mark.parametrize("compiled", [False, True])
def test_the_network_alone_is_replayed_as_the_runners_batches_are(
    runner: Any, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Launched kernel by kernel it is slower than the runner, which is then more than all of it."""
    recorded: list[Any] = []

    def record(run: Any, inputs: Any) -> Any:
        recorded.append(inputs)
        return lambda: run(*inputs)

    monkeypatch.setattr(lanes, "Replays", lambda _: Replays(record))
    generator = runner.new_generator(4, 1)
    with contextlib.closing(runner.opened(generator, compiled, "cpu")) as opened:
        size = (2, 32, 48)
        network = runner._network(generator, opened, size, compiled, "cpu")
        assert np.array_equal(network.run(3), network.made)
        assert len(recorded) == 1
        frames = runner._frames(opened, size, network.made)
        frames.run(4)
        assert runner._unlike(frames.made, network.made) == ""
    assert len(recorded) == 3, "and in both of the runner's lanes"


def test_frames_that_differ_are_told(
    runner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = runner._given
    # The network and the runner are then given different pictures.
    calls = iter(range(100))
    monkeypatch.setattr(runner, "_given", lambda size: given(size) ^ (next(calls) % 3 * 127))
    report = report_in(tmp_path)
    runner.measure(report, time.monotonic() + 60, "cpu")
    told = [row["error"] for row in report.tables["runner"] if row["form"] == "RGB frames"]
    assert all(error.startswith("only ") for error in told)
    assert runner._unlike(np.zeros(3), np.zeros(3)) == ""


def test_planes_that_differ_are_told(
    runner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runner's alone are upside down."""
    convert = plane_network.tensor_to_yuv

    def in_turns(x: Any, **coding: Any) -> Any:
        y, uv = convert(x, **coding)
        return (y.flip(1) if threading.current_thread() is not main else y), uv

    main = threading.current_thread()
    monkeypatch.setattr(plane_network, "tensor_to_yuv", in_turns)
    report = report_in(tmp_path)
    runner.measure(report, time.monotonic() + 60, "cpu")
    errors = {row["form"]: row["error"] for row in report.tables["runner"]}
    assert errors.pop("NV12 planes").startswith("only ")
    assert set(errors.values()) == {""}


def test_what_fails_is_a_row_and_time_is_kept(
    runner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(runner, "_network", broken)
    report = report_in(tmp_path)
    runner.measure(report, time.monotonic() + 60, "cpu")
    assert [row["error"] for row in report.tables["runner"]] == ["RuntimeError: no memory"] * 2
    runner.measure(report, time.monotonic() - 1, "cpu")
    assert report.facts["runner"] == "stopped at the time limit"
    assert len(report.tables["runner"]) == 2
