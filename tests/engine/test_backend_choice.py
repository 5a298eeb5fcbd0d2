import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cyclegan import cpu
from cyclegan.config import GeneratorConfig, ResnetConfig, UnetConfig
from cyclegan.engine import backend_choice
from cyclegan.engine.backend_choice import choose_backend
from cyclegan.engine.runners import BACKENDS, Precision
from cyclegan.engine.translator import Translator
from cyclegan.errors import BackendError
from cyclegan.kernels import native
from cyclegan.networks import ResnetGenerator

WIDE = ResnetConfig(width=64)


def test_the_choice_follows_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_choice, "cuda_available", lambda: True)
    assert choose_backend().backend == "torch"
    choice = choose_backend(needs_onnx=True)
    assert choice.backend == "openvino"
    assert "this ONNX graph runs on OpenVINO only" in choice.reason
    assert "no CUDA GPU" not in choice.reason
    monkeypatch.setattr(backend_choice, "cuda_available", lambda: False)
    assert choose_backend().backend == "openvino"
    reason = "OpenVINO is not installed; pip install openvino"
    gone = dataclasses.replace(BACKENDS["openvino"], why_missing=lambda: reason)
    monkeypatch.setitem(BACKENDS, "openvino", gone)
    assert choose_backend().backend == "torch"
    with pytest.raises(BackendError, match="pip install openvino"):
        choose_backend(needs_onnx=True)


def test_an_openvino_that_cannot_be_imported_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "openvino.py").write_text("raise ImportError('libopenvino.so: cannot open')")
    script = (
        "from cyclegan.engine.backend_choice import BACKENDS, choose_backend\n"
        "print(choose_backend().backend, BACKENDS['openvino'].why_missing(), sep='\\n')"
    )
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    made = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert made.stdout.splitlines() == [
        "torch",
        "OpenVINO cannot be imported: libopenvino.so: cannot open",
    ]


@pytest.mark.parametrize(
    ("config", "flags", "precision", "backend"),
    [
        (WIDE, {"avx2"}, "auto", "torch"),
        (WIDE, {"avx2"}, "bfloat16", "openvino"),
        (WIDE, {"avx512_bf16"}, "auto", "openvino"),
        (WIDE, {"avx512_bf16"}, "float32", "torch"),
        (WIDE, {"amx_bf16", "amx_tile", "avx512_bf16"}, "auto", "torch"),
        (WIDE, {"amx_bf16", "amx_tile", "avx512_bf16"}, "float16", "openvino"),
        (ResnetConfig(width=32), {"avx2"}, "auto", "openvino"),
        (ResnetConfig(width=64, norm="batch"), {"avx2"}, "auto", "openvino"),
        (UnetConfig(), {"avx2"}, "auto", "openvino"),
        (None, {"avx2"}, "auto", "openvino"),
    ],
)
def test_wide_generators_run_on_our_kernels(
    config: GeneratorConfig | None,
    flags: set[str],
    precision: Precision,
    backend: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cpu, "cpu_flags", lambda: frozenset(flags))
    monkeypatch.setattr(native, "why_missing", lambda: None)
    monkeypatch.setattr(backend_choice, "cuda_available", lambda: False)
    choice = choose_backend(config, precision=precision)
    assert choice.backend == backend
    assert ("our kernels for CPUs are fastest" in choice.reason) == (backend == "torch")
    monkeypatch.setattr(native, "why_missing", lambda: "no C++ compiler: install g++")
    assert choose_backend(config, precision=precision).backend == "openvino"
    assert choose_backend(config, precision=precision, needs_onnx=True).backend == "openvino"


def test_auto_opens_what_is_chosen_for_the_generator() -> None:
    chosen = choose_backend(WIDE).backend
    generator = ResnetGenerator(ResnetConfig(width=64, blocks=1))
    with Translator.open(generator, size=(64, 64)) as translator:
        assert translator.backend == chosen


def test_looking_imports_no_torch_where_there_is_no_driver() -> None:
    if backend_choice.cuda_available():
        pytest.skip("this machine has a GPU")
    code = (
        "import sys; from cyclegan.engine.backend_choice import choose_backend; choose_backend();"
        "print(sorted({'torch', 'av', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
