import sys
from collections.abc import Callable
from typing import Any

import pytest

from bench import stability, tiles, video
from bench.harness import Timing

Found = Callable[..., int]
SMALL = ["--width", "4", "--blocks", "1", "--size", "32", "--turns", "1"]


def test_videos_can_be_timed(aims_found: Found) -> None:
    (result,) = video.main([*SMALL, "--frames", "8"])
    assert result["of_slowest_stage"] > 0
    assert result["first_frame_in_frames"] > 0
    assert result["live_p95_in_frames"] > 0
    assert result["bound_by"] in ("decode", "translate", "encode")
    assert aims_found(result) == 3


def test_the_share_of_the_slowest_stage_is_taken_turn_by_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The ratio of the medians would be 1/2."""
    seconds = {"translator alone": (0.01, 0.02, 0.09), "end to end": (0.01, 0.04, 0.03)}
    fast = dict.fromkeys(("decode alone", "encode alone"), (0.001,) * 3)

    def turns(candidates: Any, *, items: int, **how: Any) -> dict[str, Timing]:
        assert set(candidates) == {*seconds, *fast}
        return {n: Timing(seconds=taken, items=items) for n, taken in {**seconds, **fast}.items()}

    monkeypatch.setattr(video, "in_turns", turns)
    (result,) = video.main([*SMALL, "--frames", "8"])
    assert result["of_slowest_stage"] == pytest.approx(1.0)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_followed_along_a_run(aims_found: Found) -> None:
    (result,) = video.main(["--memory", "--size", "32", "--frames", "40"])
    assert list(result["resident_bytes"]) == [str(n) for n in range(4, 41, 4)]
    assert 0.5 < result["growth"] < 2
    assert aims_found(result, frames=10_000) == 1


def test_sizes_are_width_by_height(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        video.main(["--size", "272 640"])
    assert "got the size '272 640'; expected WIDTHxHEIGHT" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("main", "given", "said"),
    [
        (video.main, ["--size", "34x33"], "'34x33'; expected even sides, which H.264 needs"),
        (video.main, ["--frames", "0"], "'0'; expected a number from 1 up"),
        (video.main, ["--memory", "--frames", "1"], "--frames from 2 up"),
        (tiles.main, ["--precision", "int8"], "invalid choice: 'int8'"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    main: Callable[[list[str]], object],
    given: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for place in ("bench.video.measure", "bench.video.measure_memory", "subprocess.run"):
        monkeypatch.setattr(place, lambda *_, **__: pytest.fail("was measured"))
    with pytest.raises(SystemExit):
        main(given)
    assert said in capsys.readouterr().err


def test_steadiness_is_scored() -> None:
    (result,) = stability.main(["--clips", "bikes", "--frames", "3", "--steadiness", "0.9"])
    plain, steady = result["rows"]
    assert plain["flicker"] > 0
    assert steady["psnr_db_to_plain"] > 15
    assert result["of_plain"]["0.0"] == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("mode", ["exact", "untiled"])
def test_large_frames_can_be_measured(mode: str, aims_found: Found) -> None:
    small = ["--width", "4", "--blocks", "1", "--size", "300x200"]
    (result,) = tiles.main([*small, "--only", mode])
    assert result["peak_bytes"] >= result["bytes_before"] > 0
    row = {"benchmark": "tiles", "settings": {"mode": mode}, **result}
    assert aims_found(row, size=[2160, 3840]) == (mode == "exact")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_for_a_large_frame_is_not_that_of_drawing_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def draw(*size: int) -> Any:
        len(b"x" * (1 << 29))
        return sample_frames(*size)

    sample_frames = tiles.sample_frames
    monkeypatch.setattr(tiles, "sample_frames", draw)
    found = tiles.one("exact", 4, 1, (32, 48), "float32")
    assert found["peak_bytes"] < found["bytes_before"] + (1 << 28)
