"""What every suite is measured by: rows, absent candidates, interruptions, exponents."""

import argparse
import importlib.util
import json
import math
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import (
    accept,
    convolutions,
    harness,
    learning,
    peers,
    prove,
    pytest_json,
    run,
    scaling,
    stability,
    suite,
    tensorrt,
    train_step,
    translate,
    vapoursynth_peer,
)
from bench.generators import new_generator
from bench.harness import Timing, figures, record
from bench.limits import Work
from bench.options import output_argument, parser_for
from bench.others import Others
from bench.peer import Given, Peer, Ready, needs
from bench.suite import TINY, Comparison, Options, Pace, Row, exponent, run_suite
from cyclegan.errors import BackendError
from cyclegan.kernels import launch, native


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def nothing(count: int) -> None:
    sum(range(1000 * count))


def test_short_calls_are_repeated_to_fill_a_turn(tmp_path: Path) -> None:
    seen: list[int] = []
    comparison = Comparison(name="x", candidates={"a": seen.append}, items=4)
    options = replace(TINY, seconds=0.001)
    row = run_suite("s", lambda options: iter([comparison]), options, tmp_path / "r.jsonl")[0]
    assert seen[:2] == [1, 1]
    assert row["items"] == 4 * seen[-1] > 4


@pytest.mark.parametrize("share", [0.05, 0.51])
def test_what_is_measured_while_others_compute_is_marked(
    share: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the row, and where it is shown: all turns may have been slowed alike."""
    monkeypatch.setattr(harness, "watching_others", lambda: nullcontext(Others(share)))
    comparison = Comparison(name="x", candidates={"a": nothing}, clock=lambda run: 1.0)
    row = run_suite("s", lambda options: iter([comparison]), TINY, None)[0]
    assert (row["busy"], row["others_used"]) == (share == 0.51, share)
    shown = " ".join(capsys.readouterr().err.split())
    assert ("others used 51% of the CPU" in shown) == row["busy"]


def test_when_the_time_is_over_three_turns_must_do() -> None:
    comparison = Comparison(name="x", candidates={"a": nothing, "b": nothing})
    options = replace(TINY, turns=7)
    assert len(suite.timed(comparison, options)["a"].seconds) == 7
    hurried = replace(options, most_seconds=0.0)
    assert {len(t.seconds) for t in suite.timed(comparison, hurried).values()} == {3}


def test_what_is_finished_is_kept_when_the_next_is_interrupted(tmp_path: Path) -> None:
    def stop(count: int) -> None:
        raise KeyboardInterrupt

    def two(options: Options) -> Iterator[Comparison]:
        yield Comparison(name="one", candidates={"a": nothing}, absent={"b": "no b here"})
        yield Comparison(name="two", candidates={"a": stop})

    with pytest.raises(KeyboardInterrupt):
        run_suite("s", two, TINY, tmp_path / "r.jsonl")
    measured, absent = lines(tmp_path / "r.jsonl")
    assert (measured["comparison"], measured["candidate"]) == ("one", "a")
    assert measured["p20_ms"] <= measured["p50_ms"] <= measured["p80_ms"]
    assert (absent["candidate"], absent["absent"]) == ("b", "no b here")


def test_a_call_that_would_take_too_long_is_a_row_that_says_so() -> None:
    pace = Pace(longest=10.0)
    small = Comparison(name="s", candidates={"a": nothing}, work=Work(flops=1e9, bytes=1.0))
    large = replace(small, items=16, work=Work(flops=8e9, bytes=1.0))
    assert pace.too_long("a", large) is None, "nothing is known yet"
    pace.note(small, {"a": Timing(seconds=(0.5,), items=4)})
    assert pace.too_long("a", small) is None
    reason = pace.too_long("a", large)
    assert reason is not None
    assert "16 frames would take about 16 s" in reason


@given(
    st.floats(0.3, 3.0),
    st.floats(1e-6, 1e3),
    st.lists(st.integers(1, 9999), min_size=2, unique=True),
)
def test_exponents_of_power_laws_are_found(power: float, factor: float, scales: list[int]) -> None:
    found = exponent([float(s) for s in scales], [factor * s**power for s in scales])
    assert found == pytest.approx(power, abs=1e-6)


def test_a_super_linear_step_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"1": 1.0, "2": 2.0, "4": 8.0}
    timings = {name: Timing(seconds=(s, s), items=1) for name, s in seconds.items()}
    monkeypatch.setattr(suite, "timed", lambda *args, **kwargs: timings)
    scale = {name: float(name) for name in seconds}
    comparison = Comparison(name="x", candidates=dict.fromkeys(seconds, nothing), scale=scale)
    fit = run_suite("s", lambda options: iter([comparison]), TINY, tmp_path / "r.jsonl")[-1]
    assert fit["candidate"] == "fit"
    assert fit["steps"] == {"1 to 2": pytest.approx(1.0), "2 to 4": pytest.approx(2.0)}
    assert fit["super_linear"] == ["2 to 4"]
    assert 1.4 < fit["exponent"] < 1.6


def test_candidates_of_one_scale_have_no_exponent(tmp_path: Path) -> None:
    for scale in ({"a": 1.0}, {"a": 2.0, "b": 2.0}, {"a": 2.0, "b": 2.0, "c": 3.0}):
        comparison = Comparison(name="x", candidates=dict.fromkeys(scale, nothing), scale=scale)
        rows = run_suite(
            "s", lambda options, one=comparison: iter([one]), TINY, tmp_path / "r.jsonl"
        )
        fits = [row for row in rows if row["candidate"] == "fit"]
        assert [list(fit["steps"]) for fit in fits] == [["2 to 3"]] * ("c" in scale)


def test_what_json_has_no_number_for_is_not_recorded(tmp_path: Path) -> None:
    for wrong in (math.nan, math.inf):
        with pytest.raises(ValueError, match="JSON"):
            record({"figure": wrong}, tmp_path / "r.jsonl")
    assert not (tmp_path / "r.jsonl").exists()


def test_engines_are_compared_with_each_other_and_with_the_limit(tmp_path: Path) -> None:
    rows = run_suite("translate", translate.engine_only, TINY, tmp_path / "r.jsonl")
    by_name = {row["candidate"]: row for row in rows}
    assert set(by_name) == {peers.EAGER, peers.BARE, "openvino"}
    assert by_name[peers.EAGER]["to_first"] == 1.0
    for row in rows:
        assert row["psnr_db"] > 30
        assert 0 < row["of_limit"] < 1
        assert row["settings"]["batch"] == 1
    assert len(lines(tmp_path / "r.jsonl")) == 3


def test_peers_that_cannot_run_here_are_rows(tmp_path: Path) -> None:
    few = {name: peers.PEERS[name] for name in (peers.EAGER, "ONNX Runtime, float32")}

    def never(given: Given) -> Ready:
        raise AssertionError("a peer that is missing is opened")

    gone = Peer(open=never, missing=needs("no_such_module", "; get it"))

    def fails(given: Given) -> Ready:
        raise RuntimeError("no\ndriver")

    generator = new_generator(TINY.width, TINY.blocks)
    rows = run_suite(
        "peers",
        lambda options: peers.compared(
            {**few, "broken": Peer(open=fails), "gone": gone}, generator, (32, 32), 2
        ),
        TINY,
        tmp_path / "r.jsonl",
    )
    assert [row["candidate"] for row in rows] == [*few, "gone", "broken"]
    assert rows[-2]["absent"] == "no_such_module is not installed; get it"
    assert rows[-1]["absent"] == "RuntimeError: no driver"
    assert rows[1]["items"] == 2


def test_wrong_frames_stop_the_comparison_before_it_is_timed() -> None:
    def inverted(given: Given) -> Ready:
        right = peers.PEERS[peers.EAGER].open(given)
        return Ready(once=lambda: 255 - right.once(), repeated=lambda count: pytest.fail("timed"))

    wrong = {"wrong": Peer(open=inverted)}
    with pytest.raises(AssertionError, match="wrong is wrong"):
        next(peers.compared(wrong, new_generator(TINY.width, TINY.blocks), (32, 32), 1))


def test_every_peer_says_whether_it_can_run() -> None:
    for name, peer in peers.PEERS.items():
        reason = peer.missing()
        assert reason is None or reason.strip(), name


def test_the_graph_between_pixels_is_the_frame_graphs_middle(tmp_path: Path) -> None:
    import onnxruntime

    from cyclegan.engine.model_source import open_source

    frames, generator = peers.sample_frames(1, 32, 48), new_generator(TINY.width, TINY.blocks)
    source = open_source(generator).onnx()
    vapoursynth_peer.cut_graph(source, tmp_path / "cut.onnx", 32, 48)
    (whole,) = onnxruntime.InferenceSession(source).run(None, {"frames": frames})
    session = onnxruntime.InferenceSession(tmp_path / "cut.onnx")
    planes = (frames.transpose(0, 3, 1, 2) / 255).astype("float32")
    (made,) = session.run(None, {session.get_inputs()[0].name: planes})
    assert (abs(made.transpose(0, 2, 3, 1) * 255 - whole) < 0.51).all()


def test_vapoursynth_translates_the_same_frames_or_says_why_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With VAPOURSYNTH_PYTHON this runs the pipeline itself, else it holds the reasons."""
    few = {name: peer for name, peer in peers.PEERS.items() if name.startswith("VapourSynth")}
    assert len(few) == 2
    (compared,) = peers.compared(few, new_generator(TINY.width, TINY.blocks), (32, 48), 3)
    for name in few:
        if name in compared.absent:
            assert "VAPOURSYNTH_PYTHON names one" in compared.absent[name]
        else:
            assert compared.psnr_db[name] > 40
            assert "vs-mlrt" in compared.about[name]
    monkeypatch.setenv(vapoursynth_peer.VARIABLE, "/no/such/python")
    reason = vapoursynth_peer.missing("ov")()
    assert reason is not None
    assert "the Python of VAPOURSYNTH_PYTHON: cannot be run: No such file" in reason


def test_a_pipeline_that_stops_says_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vapoursynth_peer, "PIPELINE", Path("no_such_program.py"))
    with ExitStack() as opened:
        frames = peers.sample_frames(1, 32, 48)
        generator = new_generator(TINY.width, TINY.blocks)
        given_ = Given(generator=generator, frames=frames, opened=opened)
        with pytest.raises(BackendError, match=r"pipeline stopped: .*can't open file"):
            vapoursynth_peer.in_vapoursynth("ov", lambda: "f32")(given_)


def test_an_unknown_suite_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run.main(["fast"])
    assert "no suite fast; there are" in capsys.readouterr().err


def test_some_sizes_and_batches_of_a_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Options] = []

    def run_suite(name: str, suite: object, options: Options, output: object) -> list[Row]:
        asked.append(options)
        return []

    monkeypatch.setattr(run, "run_suite", run_suite)
    run.main(["peers", "--size", "64x32", "16", "--batch", "2", "--output", "-"])
    run.main(["peers", "--output", "-"])
    assert asked == [replace(Options(), sizes=((32, 64), (16, 16)), batches=(2,)), Options()]


def test_sizes_that_bare_networks_do_not_give_back_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only ours pad and crop: they would be absent, for frames of another shape."""
    monkeypatch.setattr(run, "run_suite", lambda *_: pytest.fail("was measured"))
    with pytest.raises(SystemExit):
        run.main(["translate", "--size", "32", "854x480", "--output", "-"])
    said = " ".join(capsys.readouterr().err.split())
    assert "--size: 854x480 as a size of frames: this generator takes heights and widths" in said


@pytest.mark.parametrize("names", [[], ["train_step"], ["peers", "video"]])
def test_programs_have_sizes_of_their_own(
    names: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run.main([*names, "--size", "64x32"])
    assert "--size and --batch are for suites: translate" in capsys.readouterr().err


@pytest.mark.parametrize("asked", [["--tiny"], ["--turns", "9"]])
def test_programs_have_lengths_of_their_own(
    asked: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They would run in full, and be taken for what was asked."""
    monkeypatch.setattr(run, "run_program", lambda *_: pytest.fail("it ran"))
    with pytest.raises(SystemExit):
        run.main(["video", *asked, "--output", "-"])
    assert "video has options of its own: python -m bench.video --help" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (run.main, ["--turns", "0", "--tiny", "kernels"]),
        (accept.main, ["--why", "x", "--runs", "0"]),
        (prove.main, ["--runs", "-1"]),
        (tensorrt.main, ["--turns", "no"]),
        (tensorrt.main, ["--blocks", "0"]),
        (train_step.main, ["--repeats", "0"]),
        (stability.main, ["--frames", "-1"]),
        (learning.main, ["--epochs", "0"]),
    ],
)
def test_counts_below_one_are_refused(
    main: Callable[[list[str]], object], arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert "expected a number from 1 up" in capsys.readouterr().err


def test_a_dash_is_standard_output() -> None:
    assert parser_for("", turns=1).parse_args(["--output", "-"]).output is None


def test_scaling_fits_an_exponent_to_every_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaling, "cpu_cores", lambda: 2)  # one has no exponent
    options = replace(TINY, sizes=((32, 32), (64, 64)), batches=(1, 4))
    rows = run_suite("scaling", scaling.comparisons, options, tmp_path / "r.jsonl")
    fits = {row["comparison"].split(",")[0]: row for row in rows if row["candidate"] == "fit"}
    assert set(fits) == {"size", "batch", "length", "threads"}
    assert all(math.isfinite(fit["exponent"]) for name, fit in fits.items() if name != "threads")
    assert list(fits["length"]["steps"]) == ["4 to 8", "8 to 16", "16 to 32"]
    names = [row["candidate"] for row in rows if row["comparison"].startswith("size")]
    assert names == ["32x32", "64x64", "fit"]


@pytest.mark.skipif(native.why_missing() is not None, reason="nothing compiles kernels here")
def test_the_least_of_a_convolution_reads_and_writes_each_tensor_once() -> None:
    x, weight = convolutions._given(128, 10, 12)
    y = 128 * 10 * 12
    forward, backward = (
        way(x, weight).work for way in (convolutions.forward, convolutions.backward)
    )
    assert forward is not None
    assert backward is not None
    assert forward.bytes == 4 * (x.numel() + weight.numel() + y)
    assert backward.bytes == 4 * (2 * x.numel() + 2 * weight.numel() + y)
    assert backward.flops == 2 * forward.flops == 4 * 9 * 128 * y


def test_threads_are_those_of_pytorch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row says eager PyTorch, and is read beside the peers' of that name."""
    seen: list[bool] = []

    class Network:
        def __init__(self, generator: object) -> None: ...

        def __call__(self, frames: object) -> None:
            seen.append(native.ON or launch.HAS_TRITON)

    monkeypatch.setattr(scaling, "FrameToFrame", Network)
    generator = new_generator(TINY.width, TINY.blocks)
    threads = scaling.over_threads(generator, TINY)
    for run_it in next(threads).candidates.values():
        run_it(2)
    assert seen
    assert not any(seen)
    assert list(threads) == []


def test_results_are_read_by_pytest_benchmark(tmp_path: Path) -> None:
    """Its compare, table and histogram, from what a suite and a program left."""
    comparison = Comparison(name="x", candidates={"a": nothing, "b": nothing}, items=2)
    rows = run_suite("s", lambda options: iter([comparison]), TINY, tmp_path / "r.jsonl")
    timings = figures({"end to end": Timing(seconds=(2.0, 4.0, 6.0), items=2)})
    program = {"benchmark": "video", "settings": {"size": "32x32"}, "timings": timings}
    record(program, tmp_path / "r.jsonl")
    files = [str(tmp_path / "r.jsonl"), str(tmp_path / "run.json")]
    assert pytest_json.main(files) == 0
    one, _, video = json.loads((tmp_path / "run.json").read_text())["benchmarks"]
    assert (one["group"], one["stats"]["rounds"]) == ("s: x", TINY.turns)
    assert one["stats"]["median"] == pytest.approx(rows[0]["p50_ms"] / 1e3)
    assert (video["group"], video["stats"]["median"]) == ("video: 32x32", 2.0)
    drawn = importlib.util.find_spec("pygal") is not None
    after = shutil.copy(files[1], tmp_path / "after.json")
    command = [sys.executable, "-m", "pytest_benchmark", "compare", files[1], str(after)]
    command += ["--group-by=group", f"--csv={tmp_path / 't.csv'}"]
    command += [f"--histogram={tmp_path / 'plot'}"] * drawn
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "s: x, b" in (tmp_path / "t.csv").read_text()
    assert "video: 32x32, end to end" in (tmp_path / "t.csv").read_text()
    if drawn:
        assert "end to end" in "".join(path.read_text() for path in tmp_path.glob("plot*.svg"))
    for text in ("", "{"):
        (tmp_path / "r.jsonl").write_text(text)
        assert pytest_json.main(files) == 2
    assert pytest_json.main([str(tmp_path / "none.jsonl"), files[1]]) == 2


def test_who_ends_a_run_by_sigterm_ends_what_it_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def suite(*_: object) -> list[Any]:
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL, "the process alone would end"
        signal.raise_signal(signal.SIGTERM)
        return []

    monkeypatch.setattr(run, "run_suite", suite)
    with pytest.raises(SystemExit) as end:
        run.main(["peers", "--tiny"])
    assert end.value.code == 128 + signal.SIGTERM


def test_a_place_that_cannot_be_written_is_told_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "run_suite", lambda *_: pytest.fail("was measured"))
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file" / "deep" / "r.jsonl"):
        with pytest.raises(SystemExit):
            run.main(["peers", "--output", str(place)])
        assert f"cannot write {place}: " in capsys.readouterr().err
        with pytest.raises(argparse.ArgumentTypeError, match="cannot write"):
            output_argument(str(place))


@pytest.mark.parametrize("program", [learning, stability])
def test_long_programs_take_the_output_that_all_take(
    program: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A dash was a file of that name, and a folder was told when all had been measured."""
    for work in ("one_run", "measure"):
        monkeypatch.setattr(program, work, lambda *_: {"benchmark": "x"}, raising=False)
    monkeypatch.chdir(tmp_path)
    assert program.main(["--output", "-"])
    assert '{"benchmark": "x"' in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SystemExit):
        program.main(["--output", str(tmp_path)])
    assert f"cannot write {tmp_path}: " in capsys.readouterr().err


def test_a_program_that_fails_is_a_row_with_what_it_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run.run_program("gone", ["bench.no_such_program"], tmp_path / "r.jsonl")
    (row,) = lines(tmp_path / "r.jsonl")
    assert row["benchmark"] == "gone"
    assert "No module named" in row["absent"]
    assert "No module named" in capsys.readouterr().err
