import json
import sys
from pathlib import Path

import pytest

from bench import stability, tiles, translate, video
from bench.harness import Timing, in_turns, record

ROOT = Path(__file__).parents[2]


def test_candidates_take_turns_and_warm_up() -> None:
    calls: list[str] = []
    timings = in_turns(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, turns=3, items=5
    )
    assert "".join(calls) == "abababab"
    assert {name: len(timing.seconds) for name, timing in timings.items()} == {"a": 3, "b": 3}


def test_figures_are_of_medians() -> None:
    timing = Timing(seconds=(4.0, 1.0, 2.0), items=6)
    assert (timing.median, timing.rate, timing.spread) == (2.0, 3.0, 4.0)


def test_results_are_appended_with_the_machine(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "results.jsonl"
    record({"benchmark": "x"}, path)
    record({"benchmark": "y"}, path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["benchmark"] for line in lines] == ["x", "y"]
    assert {"cpu", "cores", "instruction_sets", "load_average"} <= lines[0]["machine"].keys()


SMALL = ["--width", "4", "--blocks", "1", "--size", "32", "--turns", "1"]


def test_the_engines_can_be_compared(tmp_path: Path) -> None:
    output = tmp_path / "results.jsonl"
    arguments = [*SMALL, "--frames", "4", "--no-compiled", "--output", str(output)]
    result = translate.main(arguments)
    assert json.loads(output.read_text())["of_bare"] == result["of_bare"] > 0
    assert set(result["timings"]) == {"bare OpenVINO", "runner", "torch float32", "openvino"}


def test_wrong_pictures_stop_the_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translate, "LEAST_PSNR_DB", 1000.0)
    monkeypatch.setattr(translate, "compare", lambda frames, exact: compare_shifted(frames, exact))
    with pytest.raises(AssertionError, match="is wrong"):
        translate.main([*SMALL, "--frames", "2", "--no-compiled"])


def compare_shifted(frames, exact):  # type: ignore[no-untyped-def]
    from cyclegan.engine.parity import compare

    return compare(255 - frames, exact)


def test_videos_can_be_timed() -> None:
    (result,) = video.main([*SMALL, "--frames", "8"])
    assert result["of_slowest_stage"] > 0
    assert result["first_frame_in_frames"] > 0
    assert result["live_p95_in_frames"] > 0
    assert result["bound_by"] in ("decode", "translate", "encode")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_followed_along_a_run() -> None:
    (result,) = video.main(["--memory", "--size", "32", "--frames", "40"])
    assert list(result["resident_bytes"]) == [str(n) for n in range(4, 41, 4)]
    assert 0.5 < result["growth"] < 2


def test_sizes_are_width_by_height() -> None:
    assert video.size_from("640x272") == (272, 640)
    assert video.size_from("32") == (32, 32)


def test_steadiness_is_scored() -> None:
    (result,) = stability.main(["--clips", "bikes", "--frames", "3", "--steadiness", "0.9"])
    plain, steady = result["rows"]
    assert plain["flicker"] > 0
    assert steady["psnr_db_to_plain"] > 15
    assert result["of_plain"]["0.0"] == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("mode", ["exact", "untiled"])
def test_large_frames_can_be_measured(mode: str) -> None:
    small = ["--width", "4", "--blocks", "1", "--size", "200", "300"]
    result = tiles.main([*small, "--only", mode])
    assert result["peak_bytes"] >= result["peak_bytes_before"] > 0
