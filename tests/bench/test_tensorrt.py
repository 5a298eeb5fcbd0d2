"""What of the TensorRT benchmarks can be held without a GPU: building, and honest rows."""

import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cyclegan.config import ResnetConfig
from cyclegan.engine.export import onnx_from_generator
from cyclegan.networks import network_from_config

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny generator's graph: exporting takes longer than all the rest."""
    generator = network_from_config(ResnetConfig(width=8, blocks=1)).eval()
    return onnx_from_generator(generator, tmp_path_factory.mktemp("graph") / "tiny.onnx")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, exported: Path) -> Any:
    def copy(generator: Any, path: Path) -> Path:
        return Path(shutil.copyfile(exported, path))

    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setattr(importlib.import_module("bench.tensorrt"), "onnx_from_generator", copy)
    return lambda name: importlib.import_module(f"bench.{name}")


def test_building_is_timed_and_recorded(
    bench: Any, tmp_path: Path, aims_found: Callable[..., int]
) -> None:
    output = tmp_path / "cpu.jsonl"
    quick = ["--blocks", "1", "--width", "8", "--size", "64", "--turns", "1"]
    bench("tensorrt").main([*quick, "--output", str(output)])
    result = json.loads(output.read_text())
    assert result["build_s"] > result["cached_open_s"] > result["note_ms"] / 1000 > 0
    assert result["settings"]["flavour"] == "tensorrt-rtx"
    assert aims_found(result) == 3


@pytest.mark.parametrize("replay", ["new", "old"])
def test_weights_that_stayed_the_old_ones_are_noticed(
    bench: Any, tmp_path: Path, replay: str
) -> None:
    """A CUDA graph that was recorded before must give the new pictures."""
    frames = {"old": np.zeros((8, 8, 3), np.uint8), "new": np.full((8, 8, 3), 90, np.uint8)}

    class Runner:
        weights = "old"

        def refit(self, graph: bytes) -> None:
            self.weights = replay

    runner, checks = Runner(), bench("tensorrt_checks")
    report = bench("report").Report(tmp_path / "gpu", {})
    checks.check(
        report, "plan", "refit",
        lambda: checks.refitted(
            lambda frame: frames[runner.weights], runner, frames["old"], b"", frames["new"]
        ),
    )  # fmt: skip
    (row,) = report.tables["tensorrt_checks"]
    assert row["check"] == "refit"
    assert row["result"] == "passed" if replay == "new" else "dB with the old" in row["result"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU: make gpu runs it")
def test_what_cannot_run_is_a_row_with_the_reason(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plans are built in truth; then there is no GPU to load them."""
    tensorrt = bench("tensorrt")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    monkeypatch.setattr(tensorrt, "BATCHES", (1,))
    monkeypatch.setattr(tensorrt, "NORMS", ("native",))
    report = bench("report").Report(tmp_path / "gpu", {"gpu": "none"})
    tensorrt.measure(report, width=8, blocks=1, size=64)
    rows = {row["attempt"].partition(" ")[0]: row for row in report.tables["tensorrt"]}
    full, *rtx = report.tables["tensorrt"]
    assert full["result"].startswith("not run: no TensorRT: tensorrt is not installed")
    assert set(rows) == {"tensorrt", "tensorrt-rtx"}
    assert len(rtx) == 6
    assert all("refused: ConfigError: target 9.0" in row["result"] for row in rtx[:2])
    for row in rtx[2:]:
        assert row["result"].startswith("refused: ")
        assert "target" not in row["result"], "it was not built"
        refused = "a plan that can be refitted needs a GPU" in row["result"]
        assert refused == row["attempt"].endswith("refittable")
    assert all(row["host_ms"] is None for row in report.tables["tensorrt"])
    assert "tensorrt_checks" not in report.tables
    assert all(
        line.count(" | ") == 7 for line in report.markdown().splitlines() if "not run" in line
    )


def test_a_plan_with_wrong_pictures_meets_no_aim(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its figures are shown all the same, and the part of the benchmark is not run again."""
    tensorrt, aims = bench("tensorrt"), bench("aims")
    report = bench("report").Report(tmp_path / "gpu", {"gpu": "none"})
    attempt = tensorrt.Attempt(target=None, norm="native", batch=1)
    for psnr_db, device_ms in ((12.5, 0.1), (45.0, 0.5)):
        figures = {"psnr_db": psnr_db, "device_ms": device_ms, "device_frames_per_s": 1.0}
        monkeypatch.setattr(tensorrt, "run", lambda *_, figures=figures: figures)
        tensorrt._attempt(report, SimpleNamespace(flavour="x", version="1"), attempt, 0, 0, 0)
    wrong, right = report.tables["tensorrt"]
    assert wrong["result"] == "ran: only 12.5 dB to float32, a plan needs 40"
    assert (wrong["device_ms"], right["result"]) == (0.1, "ran")
    assert bench("gpu")._tensorrt_is_whole(report)
    place = aims.Place(title="here", rows={"gpu tensorrt": report.tables["tensorrt"]}, has=())
    found = [aim.found(place) for aim in aims.AIMS if aim.benchmark == "gpu tensorrt"]
    assert [figure.value for figure in found if figure] == [0.5, 1.0]
