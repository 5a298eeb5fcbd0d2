"""What of the GPU benchmarks can be held without a GPU."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT)
    return lambda name: importlib.import_module(f"bench.{name}")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("module", ["gpu", "kernels", "blocks"])
def test_without_a_gpu_it_says_so_and_fails(module: str) -> None:
    if importlib.util.find_spec("triton") is None:
        pytest.skip("needs Triton")
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{module}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "no CUDA GPU" in done.stderr
    assert "Traceback" not in done.stderr


def test_needs_nothing_but_torch_and_numpy() -> None:
    blocked = (
        "av", "filelock", "hypothesis", "onnx", "onnxscript", "openvino", "PIL", "platformdirs",
        "rich", "safetensors", "tomli_w", "torchmetrics", "tyro", "matplotlib",
    )  # fmt: skip
    code = f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))\nimport bench.gpu"
    # Inductor's own needs, filelock among them, come with PyTorch; importing it is not our doing.
    code = "import torch, torch._dynamo, torch._inductor\n" + code
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_rows_are_on_disk_one_by_one(bench: Any, tmp_path: Path) -> None:
    report = bench("report").Report(tmp_path / "some-gpu" / "gpu", {"gpu": "none"})
    for number in range(3):
        report.add("kernels", operation="copy", ms=number)
        record = json.loads((tmp_path / "some-gpu/gpu.json").read_text())
        assert len(record["kernels"]) == number + 1
    assert (tmp_path / "some-gpu/gpu.md").read_text().endswith("| copy | 2 |\n")


def test_declared_bytes_are_what_the_kernels_move(bench: Any) -> None:
    """Counted again from the results themselves: statistics read x, apply reads and writes."""
    kernels = bench("kernels")
    shape = (2, 8, 12, 10)
    x = torch.randn(shape)
    for name, operation in kernels.OPERATIONS.items():
        results = operation.run(x, x)
        results = results if isinstance(results, tuple) else (results,)
        written = sum(r.numel() for r in results)
        reads = 1 if name == "pad3" else 2 + operation.residual
        expected = 2 * (reads * x.numel() + written)
        assert kernels.declared_bytes(operation, shape, back=False) == expected


def test_the_table_of_block_sizes_keeps_other_rows(bench: Any, tmp_path: Path) -> None:
    blocks = bench("blocks")
    path = tmp_path / "blocks.json"
    path.write_text('{"sm_80": {"a": [1, 2, 3, 4]}}')
    blocks.write(path, "sm_90", {"b": [32, 64, 128, 4]})
    assert json.loads(path.read_text()) == {
        "sm_80": {"a": [1, 2, 3, 4]},
        "sm_90": {"b": [32, 64, 128, 4]},
    }
    rows = list(blocks.candidates(64, 1 << 16))
    assert all(row[2] % row[0] == 0 for row in rows)
    assert blocks.fastest(rows, 1.0, lambda row: 0.5 if row == rows[3] else 0.9) == rows[3]
    assert blocks.fastest(rows, 1.0, lambda row: 0.99) is None
