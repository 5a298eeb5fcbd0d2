import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from bench import harness
from bench import limits as limits_module
from bench import machine as machines
from bench.harness import Timing, figures, in_turns, peak_memory, ratio, record
from bench.limits import Limits, Work, frame_work, measure_limits
from bench.others import Others
from cyclegan.config import ResnetConfig
from cyclegan.networks import ResnetGenerator


def test_candidates_take_turns_and_warm_up() -> None:
    calls: list[str] = []
    timings = in_turns(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, turns=3, items=5
    )
    assert "".join(calls) == "abababab"
    assert {name: len(timing.seconds) for name, timing in timings.items()} == {"a": 3, "b": 3}


def test_figures_are_of_medians_and_quantiles() -> None:
    timing = Timing(seconds=(5.0, 1.0, 2.0, 3.0, 4.0, 6.0), items=7)
    assert (timing.median, timing.rate) == (3.5, 2.0)
    assert (timing.quantile(0.2), timing.quantile(0.8), timing.spread) == (2.0, 5.0, 2.5)
    plain = figures({"x": timing})["x"]
    assert (plain["p20_ms"], plain["p50_ms"]) == (pytest.approx(2000 / 7), 500.0)
    assert plain["p80_ms"] == pytest.approx(5000 / 7)
    assert plain["busy"] is True


def test_one_stray_turn_is_no_busy_machine() -> None:
    assert not Timing(seconds=(1.0,) * 9 + (7.0,), items=1).busy
    assert Timing(seconds=(1.0,) * 6 + (1.3,) * 4, items=1).busy


@pytest.mark.parametrize("share", [None, 0.05, 0.51])
def test_turns_that_others_slowed_alike_are_busy(
    share: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In every program that lets candidates take turns, and in ratios of them."""
    monkeypatch.setattr(harness, "watching_others", lambda: nullcontext(Others(share)))
    timings = in_turns({"a": int, "b": int}, turns=3, items=1, clock=lambda run: 1.0)
    busy = share == 0.51
    for plain in figures(timings).values():
        assert (plain["spread"], plain["busy"], plain["others_used"]) == (1.0, busy, share)
    assert ratio(timings["a"], timings["b"]).busy == busy


def test_ratios_are_taken_turn_by_turn() -> None:
    """A machine that slows down for both in the same turns leaves no trace in the ratio."""
    weather = (1.0, 3.0, 1.5, 1.0, 2.0)
    ours = Timing(seconds=weather, items=2)
    theirs = Timing(seconds=tuple(2 * w for w in weather), items=2)
    assert ours.busy
    assert (ratio(ours, theirs).median, ratio(ours, theirs).spread) == (2.0, 1.0)
    half_the_items = Timing(seconds=ours.seconds, items=1)
    assert ratio(half_the_items, theirs).median == 1.0


def test_peak_memory_sees_what_is_gone_again() -> None:
    with peak_memory() as before:
        pass
    with peak_memory() as peak:
        len(b"x" * (1 << 28))
    with peak_memory() as after:
        pass
    if before.bytes is None or peak.bytes is None or after.bytes is None:
        pytest.skip("this system does not tell")
    assert peak.bytes - before.bytes > 0.9 * (1 << 28)
    assert peak.bytes - after.bytes > 0.9 * (1 << 28), "the last block's peak is forgotten"


def test_results_are_appended_with_the_machine(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "results.jsonl"
    record({"benchmark": "x"}, path)
    record({"benchmark": "y"}, path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["benchmark"] for line in lines] == ["x", "y"]
    known = {"cpu", "cores", "instruction_sets", "load_average", "gpu", "clocks_mhz", "versions"}
    assert known <= lines[0]["machine"].keys()
    head = ["git", "rev-parse", "--short=12", "HEAD"]
    done = subprocess.run(head, capture_output=True, text=True, cwd=Path(__file__).parent)
    assert done.returncode or lines[0]["machine"]["commit"].startswith(done.stdout.strip())


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
def test_a_line_that_did_not_fit_leaves_nothing(tmp_path: Path) -> None:
    import resource

    path = tmp_path / "results.jsonl"
    record({"benchmark": "x"}, path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            record({"benchmark": "lost"}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    record({"benchmark": "y"}, path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["benchmark"] for line in lines] == ["x", "y"]


def test_half_a_line_of_a_run_that_was_killed_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    record({"benchmark": "x"}, path)
    whole = path.read_text()
    path.write_text(whole + whole[:20])
    record({"benchmark": "y"}, path)
    first, half, last = path.read_text().splitlines()
    assert [json.loads(line)["benchmark"] for line in (first, last)] == ["x", "y"]
    assert half == whole[:20]


def test_a_machine_is_its_hardware_not_its_load() -> None:
    here = machines.machine()
    later = here | {"load_average": 9.0, "clocks_mhz": {"cpu": 1.0}, "commit": "0" * 12}
    assert machines.same(here, later)
    assert machines.slug(here) == machines.slug(later)
    changes = ({"cores": 999}, {"cpu": "8086"}, {"revision": "6-1-0"}, {"gpu": {"name": "a"}})
    for change in changes:
        assert not machines.same(here, here | change)
    assert "999 cores" in machines.in_words(here | {"cores": 999})


@pytest.mark.skipif(sys.platform == "win32", reason="makes a script for a POSIX shell")
@pytest.mark.parametrize(
    ("answer", "gpu", "memory"),
    [
        ("345, 3201", 345.0, 3201.0),
        ("[N/A], [N/A]", None, None),
        ("345, [Not Supported]", 345.0, None),
        ("No devices were found", None, None),
    ],
)
def test_clocks_that_a_gpu_does_not_tell_are_unknown(
    answer: str,
    gpu: float | None,
    memory: float | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = tmp_path / "nvidia-smi"
    command.write_text(f"#!/bin/sh\necho '{answer}'\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    clocks = machines.clocks()
    assert (clocks["gpu"], clocks["gpu_memory"]) == (gpu, memory)


def test_work_of_a_frame_is_counted_by_hand() -> None:
    """Two multiply-adds counted twice: each convolution by its kernel, channels and pixels."""
    width, blocks, side = 4, 1, 32
    found = frame_work(ResnetGenerator(ResnetConfig(width=width, blocks=blocks)), side, side)
    ends = 2 * (49 * 3 * width * side**2)
    down = 9 * width * 2 * width * (side // 2) ** 2 + 9 * 2 * width * 4 * width * (side // 4) ** 2
    # A transposed convolution does as much as the convolution that it transposes.
    middle = 2 * blocks * 9 * (4 * width) ** 2 * (side // 4) ** 2
    assert found.flops == 2 * (ends + 2 * down + middle)


def test_the_least_time_is_that_of_the_slower_limit() -> None:
    limits = Limits(copy_bytes_per_s=10.0, flops_per_s={"float32": 5.0, "bfloat16": 20.0})
    assert limits.seconds(Work(flops=100.0, bytes=10.0)) == 5.0
    assert limits.seconds(Work(flops=10.0, bytes=100.0)) == 10.0


@pytest.mark.parametrize("fast", [True, False])
def test_products_that_a_cpu_computes_in_software_are_small(
    fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bfloat16 one of 2048 takes more than a minute without instructions for it."""
    monkeypatch.setattr(limits_module, "has_fast_bfloat16", lambda: fast)
    side = limits_module.matrix_side
    assert side(torch.bfloat16, "cpu", 2048) == (2048 if fast else 256)
    assert side(torch.float32, "cpu", 2048) == side(torch.bfloat16, "cuda", 2048) == 2048


def test_the_machines_rates_are_plausible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(measure_limits.__globals__, "COPY_BYTES", 1 << 24)
    monkeypatch.setitem(measure_limits.__globals__, "MATRIX", {"cpu": 256})
    limits = measure_limits()
    assert 1e8 < limits.copy_bytes_per_s < 1e13
    assert all(1e8 < rate < 1e15 for rate in limits.flops_per_s.values())
