"""What the table of aims says of results."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench import aims, gpu, graph_timing, kernels, pages, peers, run, whole_networks
from bench.aims import AIMS, Aim, Place
from bench.suites import PROGRAMS, SUITES

VIDEO = Aim(about="x", benchmark="video", find=aims.value("share", **aims.PAPER), least=0.85)


def place(*rows: dict[str, Any], has: tuple[str, ...] = (), name: str = "video") -> Place:
    return Place(title="here", rows={name: list(rows)}, has=has)


def said(aim: Aim, *places: Place, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    monkeypatch.setattr(aims, "AIMS", (aim,))
    return [(measured, verdict) for _, _, measured, _, verdict in aims.lines(list(places))]


def test_the_worst_figure_of_the_papers_generator_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"share": value, "settings": aims.PAPER} for value in (0.9, 0.86, 0.95)]
    tiny = {"share": 0.1, "settings": {"width": 4, "blocks": 1}}
    assert said(VIDEO, place(*rows, tiny), monkeypatch=monkeypatch) == [("0.86", "met")]
    slow = place(rows[0], {"share": 0.8, "settings": aims.PAPER, "busy": True})
    found = said(VIDEO, slow, place(*rows), monkeypatch=monkeypatch)
    assert found == [("0.8", "**not met**, **busy**"), ("0.86", "met")]
    assert said(VIDEO, place(tiny), monkeypatch=monkeypatch) == [("", "not measured")]


def test_upper_bounds_and_machines_that_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"share": value, "settings": aims.PAPER} for value in (2.0, 4.0)]
    most: dict[str, Any] = {"about": "x", "benchmark": "video", "find": VIDEO.find, "most": 3.0}
    assert said(Aim(**most), place(*rows), monkeypatch=monkeypatch) == [("4", "**not met**")]
    best = Aim(**most, any_of_them=True)
    assert said(best, place(*rows), monkeypatch=monkeypatch) == [("2", "met")]
    amx = Aim(**most, needs="AMX")
    unable, able = place(*rows, has=("AVX2",)), place(*rows, has=("AMX", "AVX2"))
    found = [verdict for _, verdict in said(amx, unable, able, monkeypatch=monkeypatch)]
    assert found == ["not judged: needs AMX", "**not met**"]


def test_every_aim_is_about_a_benchmark_that_there_is() -> None:
    tables = {"gpu kernels", "gpu models", "gpu tensorrt"}
    assert {aim.benchmark for aim in AIMS} <= {*SUITES, *PROGRAMS, *tables}
    assert all((aim.least is None) != (aim.most is None) for aim in AIMS)
    assert {peers.OURS, peers.BARE, peers.EAGER} <= set(peers.PEERS)


def test_ratios_between_candidates_are_of_one_comparison_and_by_turn() -> None:
    def row(name: str, comparison: str, *seconds: float) -> dict[str, Any]:
        head = {"comparison": comparison, "candidate": name, "settings": aims.PAPER}
        return head | {"seconds": list(seconds), "items": 2, "busy": False}

    rows = [
        row(peers.OURS, "one", 1.0, 3.0, 1.0), row(peers.BARE, "one", 2.0, 6.0, 2.0),
        row(peers.OURS, "two", 1.0), row(peers.BARE, "three", 9.0),
    ]  # fmt: skip
    assert [f.value for f in aims.beside(peers.OURS, peers.BARE)(rows)] == [2.0]


def test_gpu_results_have_the_columns_that_aims_look_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows as make gpu writes them, with times put in: every GPU aim finds its figure."""
    report = gpu.Report(tmp_path / "some-gpu" / "gpu", {"gpu": "NVIDIA H100"})
    monkeypatch.setattr(
        whole_networks, "_timed", lambda *_: ({"ms": 0.5, "pictures_per_s": 4e3, "error": ""}, [])
    )
    for part in ("models", "sizes"):
        whole_networks.measure_models(report, float("inf"), part)
    monkeypatch.setattr(kernels, "copy_rate", lambda: 1e9)
    monkeypatch.setattr(kernels, "timed", lambda calls: graph_timing.Timed(ms=1.0, busy=True))
    nothing = {"forward": (10**6, lambda run: []), "backward": (10**6, lambda run: [])}
    case = kernels.Case(
        operation="norm relu", shape=(8, 64, 720, 1280), run=abs, directions=nothing
    )
    monkeypatch.setattr(kernels, "cases", lambda batch: [case] if batch == 1 else [])
    kernels.measure(report, float("inf"))
    gpu.trt.add(report, "any", "ran", device_ms=0.5, device_frames_per_s=4e3)
    there = pages._gpu_place("some-gpu", json.loads(report.path.with_suffix(".json").read_text()))
    assert json.loads(report.path.with_suffix(".json").read_text())["models"]
    found = {aim.about: aim.found(there) for aim in AIMS if aim.benchmark.startswith("gpu")}
    assert len(found) == 11
    assert [about for about, figure in found.items() if figure is None] == []
    busy = {about for about, figure in found.items() if figure and figure.busy}
    assert busy == {aim.about for aim in AIMS if aim.benchmark == "gpu kernels"}


def test_all_that_can_be_run_is_listed_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--list"]) == []
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == [*SUITES, *PROGRAMS]
    assert all(len(line.split()) > 2 for line in listed)
