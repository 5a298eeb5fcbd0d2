"""What of the GPU benchmarks can be held without a GPU."""

import functools
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench import graph_timing
from bench.kernel_times import KernelTime
from cyclegan.config import PatchConfig, ResnetConfig
from cyclegan.engine.runners.placing import without_tf32
from cyclegan.kernels import native

ROOT = Path(__file__).parents[2]
OURS = KernelTime(kernel="in_whole", launches=18.0, us=30.0)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT)
    return lambda name: importlib.import_module(f"bench.{name}")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("module", ["gpu", "kernels", "blocks"])
@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_without_a_gpu_it_says_so_and_fails(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``python -m`` runs it, but for the time of another process that loads PyTorch."""
    pytest.importorskip("triton")
    monkeypatch.setattr(sys, "argv", [f"bench.{module}"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"bench.{module}", run_name="__main__")
    # Python prints such a code to standard error, without a traceback, and ends with status 1.
    assert str(ended.value.code).startswith("no CUDA GPU")


@pytest.mark.parametrize("module", ["gpu", "kernels", "blocks"])
@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_who_asks_for_help_measures_nothing(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.setattr(sys, "argv", [f"bench.{module}", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"bench.{module}", run_name="__main__")
    assert ended.value.code == 0


def test_needs_nothing_but_torch_triton_and_numpy() -> None:
    """Everything else is refused, but for what PyTorch itself asks for."""
    code = """
import importlib.metadata, re, sys
asked = {re.match(r"[\\w.-]+", line)[0] for line in importlib.metadata.requires("torch")}
allowed = {"torch", "torchgen", "functorch", "triton", "numpy", "mpmath", "markupsafe"} | {
    name.replace("-", "_").lower() for name in asked
}
ours = {"bench", "cyclegan"}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top.lower() not in allowed | ours and top not in sys.stdlib_module_names:
            raise ModuleNotFoundError(f"refused: {name}", name=name)

import torch, torch._dynamo, torch._inductor
sys.meta_path.insert(0, Refuse())
import bench.generators, bench.gpu, bench.runner
bench.runner.opened(bench.generators.new_generator(4, 1), False, "cpu").close()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("collected", ["kernels", "runner"])
def test_the_tests_it_runs_need_no_more_than_is_there(collected: str, bench: Any) -> None:
    """Those of kernels are imported alone: most of them need a GPU, or take long."""
    gpu = bench("gpu")
    *kernels, runner = gpu.TESTS
    command = gpu.test_command(runner)
    if collected == "kernels":
        command += ["--collect-only", "-o", f"pythonpath={kernels[0].parent}", *map(str, kernels)]
    environment = {
        **{name: value for name, value in os.environ.items() if name != "CYCLEGAN_CACHE"},
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    }
    command += ["-p", "bare_machine"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_names_a_folder_for_what_is_compiled(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finding the user's takes a package that it can do without; its processes inherit the name."""
    gpu = bench("gpu")
    monkeypatch.setattr(gpu, "begin", lambda *_: sys.exit("begun"))
    for given, expected in ((None, str(ROOT / "build/cache")), ("elsewhere", "elsewhere")):
        monkeypatch.delenv("CYCLEGAN_CACHE", raising=False)
        if given:
            monkeypatch.setenv("CYCLEGAN_CACHE", given)
        with pytest.raises(SystemExit, match="begun"):
            gpu.main([])
        assert os.environ["CYCLEGAN_CACHE"] == expected


def test_who_ends_it_by_sigterm_ends_its_parts(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They lead sessions of their own: the signal of a terminal or of timeout reaches none."""
    gpu = bench("gpu")

    def begin(*_: object) -> None:
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL, "the process alone would end"
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(gpu, "begin", begin)
    with pytest.raises(SystemExit) as end:
        gpu.main([])
    assert end.value.code == 128 + signal.SIGTERM


def test_rows_are_on_disk_one_by_one(bench: Any, tmp_path: Path) -> None:
    report = bench("report").Report(tmp_path / "some-gpu" / "gpu", {"gpu": "none"})
    for number in range(3):
        report.add("kernels", operation="copy", ms=number)
        record = json.loads((tmp_path / "some-gpu/gpu.json").read_text())
        assert len(record["kernels"]) == number + 1
    assert (tmp_path / "some-gpu/gpu.md").read_text().endswith("| copy | 2 |\n")


def test_a_row_that_does_not_fit_leaves_those_before_it(
    bench: Any, tmp_path: Path, small_disk: Callable[[int], None]
) -> None:
    report = bench("report").Report(tmp_path / "gpu", {})
    report.add("kernels", operation="copy")
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    report.tables["kernels"].append({"operation": "norm"})
    small_disk(10)
    with pytest.raises(OSError, match=r"cannot write .*gpu\.json: File too large"):
        report.write()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


def test_rows_of_older_reports_keep_to_their_columns(bench: Any, tmp_path: Path) -> None:
    report = bench("report").Report(tmp_path / "gpu", {})
    report.add("kernels", operation="old", error="")
    report.add("kernels", operation="new", busy=True, error="")
    *_, head, _, old, new = (tmp_path / "gpu.md").read_text().splitlines()
    assert head == "| operation | error | busy |"
    assert (old, new) == ("| old |  |  |", "| new |  | True |")


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


def test_declared_bytes_of_pixels_are_what_goes_in_and_comes_out(bench: Any) -> None:
    for pixels in bench("pixels").PIXELS.values():
        given = pixels.given(2, 4, 6, "cpu")
        made = pixels.run(*given)
        tensors = [*given, *(made if isinstance(made, tuple) else (made,))]
        assert sum(t.numel() * t.element_size() for t in tensors) == pixels.bytes * 2 * 4 * 6


@pytest.fixture
def kernels(bench: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``bench/kernels.py``, told the rate of a copy, which a GPU alone has."""
    module = bench("kernels")
    monkeypatch.setattr(module, "copy_rate", lambda: 1e9)
    return module


@pytest.fixture
def new_report(bench: Any, tmp_path: Path) -> Any:
    """A report without rows, to be written to ``tmp_path / "kernels.json"``."""
    return bench("report").Report(tmp_path / "kernels", {})


def test_a_variant_that_fails_is_a_row_and_the_others_follow(
    kernels: Any, new_report: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "sets_of", lambda size: 1)
    monkeypatch.setattr(kernels, "timed", lambda calls: graph_timing.Timed(ms=float(calls[0]())))
    nv12 = kernels.PIXELS["NV12 to tensor"]
    on_cpu = replace(nv12, given=lambda n, h, w, device: nv12.given(n, h, w, "cpu"))
    monkeypatch.setitem(kernels.PIXELS, "NV12 to tensor", on_cpu)
    case = kernels._pixel_case("NV12 to tensor", (1, 4, 6))

    def broken(*tensors: torch.Tensor) -> None:
        raise RuntimeError("no | code\nfor this")

    both = {"torch.compile": (broken, False), "ours": (lambda *tensors: 1, True)}
    monkeypatch.setattr(kernels, "cases", lambda batch: [case] if batch == 1 else [])
    monkeypatch.setattr(kernels, "variants", lambda run: both)
    kernels.measure(new_report, float("inf"))
    after, failed = json.loads((tmp_path / "kernels.json").read_text())["kernels"]
    assert failed["error"] == "RuntimeError: no / code for this"
    assert (failed["ms"], after["ms"], after["error"]) == (None, 1.0, "")


def test_an_error_that_takes_the_gpu_along_is_no_row_of_the_kernels_after_it(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an illegal access every call of CUDA fails: they are left to the next process."""
    kernels = bench("kernels")
    report = bench("report").Report(tmp_path / "kernels", {})
    monkeypatch.setattr(kernels, "copy_rate", lambda: 1e9)
    lost: list[str] = []

    def synchronize() -> None:
        if lost:
            raise RuntimeError(lost[0])

    def timed(calls: list[str]) -> Any:
        lost.extend(calls)
        synchronize()
        return graph_timing.Timed(ms=1.0)

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(kernels, "timed", timed)
    some = ([], ["illegal memory access"], [])
    every = [
        kernels.Case(
            operation=str(number), shape=(1, 2), run=abs,
            directions={"forward": (8, lambda run, calls=calls: calls)},
        )
        for number, calls in enumerate(some)
    ]  # fmt: skip
    monkeypatch.setattr(kernels, "cases", lambda batch: every if batch == 1 else [])
    monkeypatch.setattr(kernels, "variants", lambda run: {"ours": (run, True)})
    with pytest.raises(RuntimeError, match="illegal"):
        kernels.measure(report, float("inf"))
    lost.clear()
    kernels.measure(report, float("inf"))
    assert {row["operation"]: row["error"] for row in report.tables["kernels"]} == {
        "0": "", "1": "RuntimeError: illegal memory access", "2": "",
    }  # fmt: skip


SMALL: dict[str, Any] = {
    "generator": ResnetConfig(width=4, blocks=1),
    "discriminator": PatchConfig(width=4, layers=2),
}


def test_variants_are_one_step_computed_in_different_ways(bench: Any) -> None:
    """Every variant's losses, after two steps of the same model on the same pictures."""
    steps = bench("steps")
    real_a, real_b = torch.rand(2, 1, 3, 32, 32) * 2 - 1
    found = {}
    for name, variant in steps.VARIANTS.items():
        if variant.compiled == "nothing":
            step = steps.step_call(variant, steps.new_model(variant, "cpu", SMALL), real_a, real_b)
            found[name] = [step().as_floats() for _ in range(2)][1]
    exact = found.pop("float32 eager, public order")
    assert all(loss > 0 for loss in exact.values()), "adversarial, cycle and identity"
    assert found
    for losses in found.values():
        assert losses == pytest.approx(exact, rel=0.05)


def test_tf32_is_off_inside_alone() -> None:
    convolutions, products = torch.backends.cudnn.conv, torch.backends.cuda.matmul
    before = convolutions.fp32_precision
    with without_tf32():
        assert convolutions.fp32_precision != "tf32"
        assert products.fp32_precision != "tf32"
    assert convolutions.fp32_precision == before


def test_a_row_that_fails_or_takes_too_long_is_kept_as_one(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = bench("whole_networks")
    report = bench("report").Report(tmp_path / "gpu", {})
    monkeypatch.setattr(gpu, "ROW_SECONDS", 0.05)
    monkeypatch.setattr(gpu, "seconds_of", lambda call: call())
    monkeypatch.setattr(gpu, "kernel_times", lambda call: [OURS] if call() == 0.5 else [])
    builds: list[Any] = [
        lambda: time.sleep(60), lambda: lambda: 1 / 0, lambda: lambda: 0.5, lambda: lambda: 0.2,
    ]  # fmt: skip
    rows = [
        gpu.Row(task="step", size=gpu.FIRST, variant=str(number), ours=True, build=build)
        for number, build in enumerate(builds)
    ]
    monkeypatch.setattr(gpu, "rows", lambda: iter(rows))
    gpu.measure_models(report, float("inf"))
    slow, wrong, good, other = json.loads((tmp_path / "gpu.json").read_text())["models"]
    assert slow["error"].startswith("TimeoutError")
    assert wrong["error"].startswith("ZeroDivisionError")
    assert (good["pictures_per_s"], good["error"]) == (2.0, "")
    assert (other["ms"], "our kernels ran: False" in other["error"]) == (None, True)
    gpu.measure_models(report, float("inf"))
    assert len(report.tables["models"]) == 4, "rows that are there were measured again"


@pytest.fixture
def networks(bench: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``whole_networks`` on the host, with small networks, without timing anything."""
    networks, steps = bench("whole_networks"), bench("steps")
    made = networks.ResnetGenerator
    monkeypatch.setattr(networks, "ResnetGenerator", lambda: made(SMALL["generator"]))
    new_model = steps.new_model
    monkeypatch.setattr(steps, "new_model", lambda variant, on: new_model(variant, on, SMALL))
    monkeypatch.setattr(networks, "DEVICE", "cpu")
    monkeypatch.setattr(networks, "seconds_of", lambda call: 1.0)
    for exact in (networks.exact_pictures, networks.exact_losses):
        exact.cache_clear()
    yield networks
    for exact in (networks.exact_pictures, networks.exact_losses):
        exact.cache_clear()


def test_pictures_and_losses_are_compared_before_they_are_timed(
    bench: Any, networks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row's own, and those of networks that leave out an activation, or a loss."""
    some = [row for row in networks.rows() if row.size == networks.FIRST and not row.compiles]
    assert {row.task for row in some} == {"forward", "step"}
    assert all(row.check.func in (networks.check_pictures, networks.check_losses) for row in some)
    forward = functools.partial(networks.forward_row, 2, 32, 48, torch.channels_last, False, False)
    variant = bench("steps").VARIANTS["bfloat16 eager, ours"]
    step = functools.partial(networks.step_row, 2, 32, variant)
    pictures = functools.partial(networks.check_pictures, 2, 32, 48)
    losses = functools.partial(networks.check_losses, 2, 32)
    monkeypatch.setattr(networks, "kernel_times", lambda call: [OURS])
    for build, check, wrong in (
        (forward, pictures, ("cyclegan.networks.torch.tanh", torch.sin)),
        (step, losses, ("cyclegan.losses.F.l1_loss", torch.nn.functional.mse_loss)),
    ):
        row = networks.Row(
            task="any", size=(2, 32, 32), variant="any", ours=True, build=build, check=check
        )
        assert networks._timed(row, 60.0)[0]["error"] == ""
        monkeypatch.setattr(*wrong)
        found, _ = networks._timed(row, 60.0)
        assert found["ms"] is None
        assert found["error"].startswith("AssertionError: wrong "), found


def test_kernels_of_a_row_are_listed_where_its_time_is_to_be_looked_into(
    networks: Any, new_report: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured anew, they are not listed twice."""
    times = [OURS, replace(OURS, kernel="cutlass", us=2.0)]
    rows = [
        networks.Row(
            task="step", size=networks.FIRST, variant=variant, ours=True, build=lambda: int
        )
        for variant in ("another", networks.LOOKED_INTO[0])
    ]
    monkeypatch.setattr(networks, "rows", lambda: iter(rows))
    monkeypatch.setattr(networks, "seconds_of", lambda call: 0.5)
    monkeypatch.setattr(networks, "kernel_times", lambda call: times)
    for _ in range(2):
        networks.measure_models(new_report, float("inf"))
        assert [row["gpu_ms"] for row in new_report.tables.pop("models")] == [0.032, 0.032]
    named = {"task": "step", "size": "1x256x256", "variant": networks.LOOKED_INTO[0]}
    assert new_report.tables["launches"] == [
        named | {"kernel": "in_whole", "launches": 18.0, "us": 30.0},
        named | {"kernel": "cutlass", "launches": 18.0, "us": 2.0},
    ]


def test_times_of_kernels_are_a_calls_mean(bench: Any) -> None:
    kinds = torch.autograd.DeviceType
    events = [
        SimpleNamespace(device_type=kind, name=name, time_range=SimpleNamespace(elapsed_us=us))
        for kind, name, us in (
            (kinds.CUDA, "short", lambda: 1), (kinds.CPU, "cudaLaunchKernel", lambda: 90),
            (kinds.CUDA, "a" * 100, lambda: 3), (kinds.CUDA, "a" * 100, lambda: 7),
        )
    ]  # fmt: skip
    long, short = bench("kernel_times").summed(events, 2)
    assert (long.kernel, long.launches, long.us) == ("a" * 72, 1.0, 5.0)
    assert (short.kernel, short.launches, short.us) == ("short", 0.5, 0.5)


def test_what_did_not_become_a_cuda_graph_is_no_figure(
    networks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inductor says so in its log and goes on; the row would say that it was replayed."""
    from torch._inductor.cudagraph_utils import log_cudagraph_skip_and_bump_counter as skip

    monkeypatch.setattr(networks, "kernel_times", lambda call: [])
    reasons = ["skipping cudagraphs due to cpu device"]

    def build() -> Any:
        for reason in reasons:
            skip(reason)
        return lambda: 1

    row = networks.Row(task="step", size=(1, 2, 2), variant="any", ours=False, build=build)
    found, _ = networks._timed(row, 60.0)
    assert found["ms"] is None
    assert found["error"] == "AssertionError: 1 graphs did not become CUDA graphs"
    reasons.clear()
    assert networks._timed(row, 60.0)[0]["error"] == "", "those of the row before count no more"


def test_a_kernel_that_takes_too_long_is_a_row_and_the_others_follow(
    kernels: Any, new_report: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "timed", lambda calls: calls[0]() or graph_timing.Timed(ms=1.0))
    monkeypatch.setattr(kernels, "ROW_SECONDS", 0.05)
    once = {"forward": (8, lambda run: [run])}
    case = kernels.Case(operation="norm relu", shape=(1, 2), run=abs, directions=once)
    monkeypatch.setattr(kernels, "cases", lambda batch: [case] if batch == 1 else [])
    both = {"torch.compile": (lambda: time.sleep(60), False), "ours": (lambda: None, True)}
    monkeypatch.setattr(kernels, "variants", lambda run: both)
    kernels.measure(new_report, time.monotonic() + 60)
    after, slow = json.loads((tmp_path / "kernels.json").read_text())["kernels"]
    assert slow["error"].startswith("TimeoutError: stopped after 0.05 seconds")
    assert (after["ms"], after["error"]) == (1.0, "")
    kernels.measure(new_report, time.monotonic() + 60)
    assert len(new_report.tables["kernels"]) == 2, "rows that are there were measured again"
    kernels.measure(new_report, time.monotonic() - 1)
    assert new_report.facts["kernels"] == "stopped at the time limit"
    assert len(new_report.tables["kernels"]) == 2


def test_a_kernel_that_the_end_of_its_part_interrupts_is_measured_when_that_goes_on(
    kernels: Any, new_report: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels have two parts of the time; an error between them would stay to the end."""
    seconds = 60.0
    took = graph_timing.Timed(ms=1.0)
    monkeypatch.setattr(kernels, "timed", lambda calls: time.sleep(seconds) or took)
    both = {"forward": (8, lambda run: []), "backward": (8, lambda run: [])}
    case = kernels.Case(operation="norm relu", shape=(1, 2), run=abs, directions=both)
    monkeypatch.setattr(kernels, "cases", lambda batch: [case])
    kernels.measure(new_report, time.monotonic() + 0.05)
    assert "kernels" not in new_report.tables
    assert new_report.facts["kernels"] == "stopped at the time limit"
    seconds = 0.0
    kernels.measure(new_report, time.monotonic() + 60)
    rows = new_report.tables["kernels"]
    assert {row["direction"] for row in rows} == {*both}
    assert all(row["error"] == "" for row in rows)
    assert "kernels" not in new_report.facts


def test_what_is_measured_beside_compilers_is_measured_again(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They slow it down evenly, of which no timing tells, and may have made it fail."""
    gpu, kernels = bench("gpu"), bench("kernels")
    path = tmp_path / "gpu"
    monkeypatch.setenv("CYCLEGAN_CACHE", "elsewhere")
    bench("report").Report(path, {}).write()
    monkeypatch.setattr(kernels, "copy_rate", lambda: 1e9)
    done: list[str] = []
    ms = 2.0

    def timed(calls: list[str]) -> Any:
        done.append(calls[0])
        if (ms, calls) == (2.0, ["b"]):
            raise RuntimeError("out of memory")
        return graph_timing.Timed(ms=ms, busy=calls == ["d"])

    monkeypatch.setattr(kernels, "timed", timed)
    some = {name: {name: (8, lambda run, name=name: [name])} for name in "abcd"}
    every = [
        kernels.Case(operation=name, shape=(1, 2), run=abs, directions=directions)
        for name, directions in some.items()
    ]
    monkeypatch.setattr(kernels, "variants", lambda run: {"ours": (run, True)})
    measured = every[:2]
    monkeypatch.setattr(kernels, "cases", lambda batch: measured if batch == 1 else [])
    gpu.main(["--part", gpu.EARLY, str(path), "60"])
    (early,) = json.loads(path.with_suffix(".json").read_text())["kernels"]
    assert (early["operation"], early["ms"], early["busy"]) == ("a", 2.0, True)
    done.clear()
    ms, measured = 1.0, every
    gpu.main(["--part", "kernels", str(path), "60"])
    assert done == ["b", "c", "d", "a", "d"], "what is missing, then what was disturbed"
    rows = json.loads(path.with_suffix(".json").read_text())["kernels"]
    assert {row["operation"]: (row["ms"], row["busy"]) for row in rows} == {
        "a": (1.0, False), "b": (1.0, False), "c": (1.0, False), "d": (1.0, True),
    }  # fmt: skip
    assert len(rows) == 4


def test_replays_that_differ_to_the_end_are_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _pretend_a_gpu(monkeypatch)
    count = 0

    def elapsed(*_: object) -> float:
        nonlocal count
        count += 1
        return 1.0 if count > quiet_after else count % 3 + 1.0

    monkeypatch.setattr(torch.cuda.Event, "elapsed_time", elapsed)
    quiet_after = 30
    assert graph_timing.timed([lambda: None]) == graph_timing.Timed(ms=1.0)
    quiet_after = count + 1000
    assert graph_timing.timed([lambda: None]).busy


HANGS = """
import json, signal, sys, time
path = sys.argv[1]
signal.signal(signal.SIGTERM, signal.SIG_IGN)
record = json.load(open(path))
record["kernels"] = [{"operation": "copy", "ms": 1.0}]
json.dump(record, open(path, "w"))
time.sleep(60 if sys.argv[2] == "hangs" else 0)
sys.exit(3)
"""


@pytest.mark.parametrize(
    ("how", "fact"), [("hangs", "killed: not over 1 seconds"), ("fails", "ended with status 3")]
)
def test_a_part_that_hangs_or_fails_leaves_its_rows_and_a_word(
    how: str, fact: str, bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = bench("gpu")
    report = bench("report").Report(tmp_path / "gpu", {"gpu": "none"})
    report.add("tests", file="on_gpu.py", result="1 passed")
    arguments = [sys.executable, "-c", HANGS, str(tmp_path / "gpu.json"), how]
    monkeypatch.setattr(gpu, "command", lambda *_: arguments)
    monkeypatch.setattr(gpu, "GRACE", 1)
    found, well = gpu.run_part(report, "kernels", 0.0)
    assert not well
    assert found.facts["kernels"].startswith(fact)
    assert "| copy | 1.0 |" in (tmp_path / "gpu.md").read_text()
    assert "1 passed" in (tmp_path / "gpu.md").read_text()


def test_a_process_that_not_even_force_ends_is_left(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a driver's call that does not return; what has been measured is then still written."""

    class Stuck:
        pid = 0

        def wait(self, timeout: float | None = None) -> int:
            assert timeout is not None, "this takes for ever"
            raise subprocess.TimeoutExpired("stuck", timeout)

    prepared, killed = bench("prepared"), list[object]()
    monkeypatch.setattr(prepared.os, "killpg", lambda *which: killed.append(which))
    assert prepared.ended(Stuck(), 0.1) == "killed"
    assert killed


def test_parts_and_their_ends_by_force_fit_into_nine_minutes(bench: Any) -> None:
    gpu = bench("gpu")
    ends = [part.end for part in gpu.PARTS.values()]
    assert ends[0] > gpu.PREPARE_SECONDS > gpu.TEST_SECONDS
    assert ends == sorted(ends)
    assert ends[-1] + gpu.GRACE < gpu.SECONDS == 9 * 60


def test_one_picture_of_256_is_measured_before_all_else(bench: Any) -> None:
    gpu, steps = bench("whole_networks"), bench("steps")
    rows = list(gpu.rows())
    first = [row for row in rows if row.size == (1, 256, 256)]
    assert rows[: len(first)] == first
    assert [row.part for row in rows] == ["models"] * 10 + ["sizes"] * 20
    found = {(row.size, row.variant) for row in rows if row.task == "step"}
    sizes = ((1, 256, 256), (16, 256, 256))
    assert found == {(size, name) for name in steps.VARIANTS for size in sizes}


def test_results_that_a_graph_writes_do_not_share_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else they would stay in the cache, and a kernel would seem faster than a copy."""
    _pretend_a_gpu(monkeypatch)
    alive: set[int] = set()
    most = 0

    class Result:
        def __init__(self) -> None:
            nonlocal most
            alive.add(id(self))
            most = max(most, len(alive))

        def __del__(self) -> None:
            alive.discard(id(self))

    assert graph_timing.timed([Result] * 4) == graph_timing.Timed(ms=0.25)
    assert most == 4


def _pretend_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's streams, events and graphs as things that do nothing, one millisecond long."""

    class Nothing:
        def __init__(self, *_: object, **__: object) -> None: ...
        def __enter__(self) -> "Nothing":
            return self

        def __exit__(self, *_: object) -> None: ...
        def wait_stream(self, other: object) -> None: ...
        def record(self) -> None: ...
        def synchronize(self) -> None: ...
        def replay(self) -> None: ...
        def elapsed_time(self, other: object) -> float:
            return 1.0

    for name in ("Stream", "stream", "Event", "CUDAGraph", "graph"):
        monkeypatch.setattr(torch.cuda, name, Nothing)
    monkeypatch.setattr(torch.cuda, "current_stream", Nothing)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "_sleep", lambda cycles: None)
    properties = SimpleNamespace(L2_cache_size=1 << 20)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)


def right(run: Any) -> Any:
    """``run`` in float32, its results rounded, as kernels do it."""

    def result(x: torch.Tensor, residual: torch.Tensor) -> Any:
        made = run(x.float(), residual.float())
        return tuple(map(torch.Tensor.half, made)) if isinstance(made, tuple) else made.half()

    return result


def wrong_result(run: Any) -> Any:
    """In the last image alone."""

    def result(*given: torch.Tensor) -> Any:
        made = run(*given)
        one = made[0] if isinstance(made, tuple) else made
        with torch.no_grad():
            one[-1] = 0
        return made

    return result


def wrong_gradient(run: Any) -> Any:
    """Of a right result, and too large by a hundredth."""

    def result(*given: torch.Tensor) -> Any:
        made = run(*given)
        results = made if isinstance(made, tuple) else (made,)
        return tuple(one + (one - one.detach()) / 100 for one in results)

    return result


WRONG = {"forward": wrong_result, "backward": wrong_gradient}


def _cases(kernels: Any) -> Iterator[tuple[Any, Any]]:
    """Every operation on two small images, and how it is computed rightly."""
    for name in kernels.OPERATIONS:
        case = kernels._norm_case(name, (2, 8, 12, 10))
        yield case, right(case.run)
    for name in kernels.PIXELS:
        case = kernels._pixel_case(name, (2, 12, 10))
        yield case, case.run


def test_what_is_timed_is_compared(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong results are no figure, of whichever operation, and be it in one image alone."""
    kernels = bench("kernels")
    _pretend_a_gpu(monkeypatch)
    monkeypatch.setattr(kernels, "DEVICE", "cpu")
    monkeypatch.setattr(kernels, "sets_of", lambda size: 2)
    monkeypatch.setattr(native, "ON", False)  # else they are compiled first
    for case, run in _cases(kernels):
        for direction, figure in case.directions.items():
            one = replace(case, directions={direction: figure})
            runs = {"right": run, "wrong": WRONG[direction](run)}
            report = bench("report").Report(tmp_path / "kernels", {})
            common = kernels.Common(report=report, deadline=float("inf"), rate=1e9, alone=True)
            for variant, run in runs.items():
                assert kernels.measure_one(common, one, variant, run, False)
            good, wrong = report.tables["kernels"]
            assert (good["ms"], good["error"]) == (0.5, ""), good
            assert wrong["ms"] is wrong["of_copy_rate"] is None, wrong
            assert wrong["error"].startswith("AssertionError: wrong results: "), wrong


def test_all_that_a_graph_writes_is_compared(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that was right until it was captured, and is not the first one."""
    kernels = bench("kernels")
    _pretend_a_gpu(monkeypatch)
    x, count = torch.ones(2, 3), 0

    def call() -> torch.Tensor:
        nonlocal count
        count += 1
        return x * float("nan") if count == captured else x.clone()

    calls = [kernels.Checked(call=call, images=2, exact=lambda images: x[images])] * 3
    captured = 0
    assert graph_timing.timed(calls).ms == pytest.approx(1 / 3)
    count, captured = 0, 3 * 3 + 2
    with pytest.raises(AssertionError, match="wrong results: nan"):
        graph_timing.timed(calls)


def test_calls_are_timed_alone_and_in_a_graph(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = bench("whole_networks")
    _pretend_a_gpu(monkeypatch)
    called: list[int] = []
    replay = gpu.graphed(lambda: called.append(1))
    assert len(called) == 4, "three to warm up, one captured"
    assert gpu.seconds_of(replay) < 1
    assert graph_timing.sets_of(1 << 20) == 5
    assert graph_timing.sets_of(1) == 256


@pytest.fixture
def report(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An earlier command's, of which models failed, in place for the next."""
    facts = {"gpu": "none", "torch": "2.11", "triton": "3.6", "commit": "one"}
    report = bench("report").Report(tmp_path / "gpu", dict(facts))
    report.add("tests", file="on_norm.py", result="1 failed", passed=False)
    report.add("tests", file="on_pad.py", result="1 passed", passed=True)
    report.add("tests", file="on_properties.py", result="not run: 1 skipped", passed=None)
    for size, error in (("1x256x256", ""), ("1x256x257", "TimeoutError"), ("16x256x256", "")):
        report.add("models", task="step", size=size, variant="any", error=error)
    report.add("kernels", operation="copy", ms=1.0, error="")
    report.add("tensorrt", attempt="tensorrt", result="not run: no TensorRT")
    report.facts["sizes"] = "killed"
    report.write()
    fresh = bench("report").Report(tmp_path / "gpu", {**facts, "commit": "two"})
    monkeypatch.setattr(bench("gpu"), "gpu_or_exit", lambda name: fresh)
    return report


TESTED = {
    "passes": ("def test_it(): pass", True),
    "partly": ("import pytest\ndef test_it(): pass\ndef test_that(): pytest.skip('no GPU')", True),
    "skips": ("import pytest\ndef test_it(): pytest.skip('no GPU')", None),
    "skips itself": ("import pytest\npytest.importorskip('no_such_module')", None),
    "is empty": ("", False),
    "fails": ("def test_it(): assert False", False),
    "fails and skips": (
        "import pytest\ndef test_it(): assert 0\ndef test_that(): pytest.skip('no GPU')", False,
    ),
    "cannot be imported": ("import no_such_module", False),
}  # fmt: skip
"""Files of tests, and whether they passed; None: they were not run."""


def test_tests_that_were_not_run_have_not_passed(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With pytest's own words and status of every file."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # these load for longer than it runs
    gpu, made = bench("gpu"), bench("report").Report(tmp_path / "gpu", {"gpu": "none"})
    for name, (text, _) in TESTED.items():
        (tmp_path / f"{name}.py").write_text(text + "\n")
    monkeypatch.setattr(gpu, "TESTS", [tmp_path / f"{name}.py" for name in TESTED])
    assert not gpu.finish_tests(made, gpu.start_tests(made))
    found = {row["file"].removesuffix(".py"): row for row in made.tables["tests"]}
    assert {name: row["passed"] for name, row in found.items()} == {
        name: passed for name, (_, passed) in TESTED.items()
    }
    assert found["skips"]["result"].startswith("not run: 1 skipped in")
    assert "| skips.py | not run: 1 skipped in" in (tmp_path / "gpu.md").read_text()
    good = [tmp_path / f"{name}.py" for name in ("passes", "skips")]
    monkeypatch.setattr(gpu, "TESTS", good)
    again = bench("report").Report(tmp_path / "other", {"gpu": "none"})
    assert gpu.finish_tests(again, gpu.start_tests(again)), "nothing failed"


CHILD = """
import pathlib, subprocess, sys, time
def test_it():
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    pathlib.Path(__file__).with_suffix(".pid").write_text(str(started.pid))
    {then}
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_tests_end_with_all_that_they_started(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they leave behind would use the GPU beside what is timed next."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    gpu, made = bench("gpu"), bench("report").Report(tmp_path / "gpu", {"gpu": "none"})
    files = [tmp_path / f"{name}.py" for name in ("fails", "hangs")]
    for path, then in zip(files, ("assert False", "time.sleep(60)"), strict=True):
        path.write_text(CHILD.format(then=then))
    monkeypatch.setattr(gpu, "TESTS", files)
    running = gpu.start_tests(made)
    hanging = {"hangs.py": running.pop("hangs.py")}
    assert not gpu.finish_tests(made, running)
    while not files[1].with_suffix(".pid").exists():
        time.sleep(0.05)
    monkeypatch.setattr(gpu, "TEST_SECONDS", 0)
    assert not gpu.finish_tests(made, hanging)
    fails, hangs = made.tables["tests"]
    assert fails["result"].startswith("1 failed in")
    assert hangs["result"] == "stopped after 0 seconds"
    left = [path.with_suffix(".pid").read_text() for path in files]
    deadline = time.monotonic() + 20
    while any(map(_runs, left)):
        assert time.monotonic() < deadline, "still there"
        time.sleep(0.05)


def _runs(pid: str) -> bool:
    """Not a process that has ended and that nobody has asked for yet."""
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_going_on_keeps_what_succeeded(bench: Any, report: Any) -> None:
    found = bench("gpu").begin(None, True)
    assert [row["file"] for row in found.tables["tests"]] == ["on_pad.py"]
    assert [row["size"] for row in found.tables["models"]] == ["1x256x256", "16x256x256"]
    assert found.has("kernels", operation="copy")
    assert "tensorrt" not in found.tables, "nothing ran"
    assert found.facts["commit"] == "one, two"
    assert "sizes" not in found.facts


def test_named_parts_are_measured_anew_and_the_others_stay(bench: Any, report: Any) -> None:
    found = bench("gpu").begin(["kernels", "sizes"], False)
    assert len(found.tables["tests"]) == 3
    assert [row["size"] for row in found.tables["models"]] == ["1x256x256"]
    assert "kernels" not in found.tables
    assert found.tables["tensorrt"] == report.tables["tensorrt"]
    assert bench("report").Report.read(report.path).tables == found.tables


def test_how_a_part_ended_is_known_until_it_is_measured_again(bench: Any, report: Any) -> None:
    """Rows that a crash cut short would look whole after a command that measured something else."""
    report.add("tensorrt", attempt="one of many", result="ran")
    report.facts |= {"tensorrt": "killed", "copy_gb_per_s": 3000}
    report.write()
    gpu = bench("gpu")
    facts = gpu.begin(["sizes"], False).facts
    assert (facts["tensorrt"], facts["copy_gb_per_s"]) == ("killed", 3000)
    assert "sizes" not in facts
    found = gpu.begin(None, True)
    assert "tensorrt" not in found.tables, "it was never finished"
    assert "tensorrt" not in found.facts


@pytest.mark.parametrize(("late", "compiles"), [(False, True), (False, False), (True, True)])
def test_kernels_are_timed_early_where_there_is_time(
    late: bool, compiles: bool, bench: Any, report: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After tests that took all of it, the part would only start to be killed."""
    gpu = bench("gpu")
    started: list[str] = []
    monkeypatch.setenv("CYCLEGAN_CACHE", "elsewhere")
    monkeypatch.setattr(gpu, "start_tests", lambda report: {})
    monkeypatch.setattr(gpu, "finish_tests", lambda report, running: True)
    monkeypatch.setattr(gpu, "preparing", lambda *_: nullcontext(compiles))
    monkeypatch.setattr(
        gpu, "run_part", lambda report, name, _: (started.append(name), (report, 1))[1]
    )
    if late:
        monkeypatch.setattr(gpu, "KERNEL_SECONDS", gpu.GRACE)
    with pytest.raises(SystemExit) as ended:
        gpu.main([])
    assert ended.value.code == 0
    early = [] if late else [gpu.EARLY if compiles else "kernels"]
    assert started == [*early, *gpu.PARTS]


def test_a_part_for_which_no_time_is_left_is_not_begun(
    bench: Any, report: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be stopped while it loads PyTorch, and takes that time from those after it."""
    gpu = bench("gpu")
    started: list[str] = []
    monkeypatch.setenv("CYCLEGAN_CACHE", "elsewhere")
    monkeypatch.setattr(gpu, "preparing", lambda *_: nullcontext(False))
    monkeypatch.setattr(
        gpu, "run_part", lambda report, name, _: (started.append(name), (report, True))[1]
    )
    monkeypatch.setitem(gpu.PARTS, "sizes", gpu.Part(measure=abs, end=gpu.GRACE - 1))
    with pytest.raises(SystemExit) as ended:
        gpu.main(["--only", "sizes", "runner", "kernels"])
    assert ended.value.code == 1
    assert started == ["runner", "kernels"]
    facts = json.loads(report.path.with_suffix(".json").read_text())["facts"]
    assert facts["sizes"].startswith("not begun: 1")


def test_by_itself_it_begins_anew(bench: Any, report: Any) -> None:
    assert bench("gpu").begin(None, False).tables == {}


def test_rows_of_another_pytorch_are_not_joined(bench: Any, report: Any) -> None:
    report.facts["torch"] = "2.10"
    report.write()
    with pytest.raises(SystemExit, match=r"of torch 2\.10, here is 2\.11"):
        bench("gpu").begin(None, True)


DAMAGES = {
    "cut short": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "a conflict": lambda text: f"<<<<<<< HEAD\n{text}",
    "no facts": lambda text: text.replace('"facts"', '"fact"'),
    "no object": lambda text: f"[{text}]",
    "no rows": lambda text: '{"facts": {}, "tests": 1}',
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_report_is_named_and_left_as_it_is(
    damage: Callable[[str], str], bench: Any, report: Any
) -> None:
    path = report.path.with_suffix(".json")
    path.write_text(damaged := damage(path.read_text()))
    with pytest.raises(SystemExit, match=f"{path} is damaged .*; expected .* move it away"):
        bench("gpu").begin(None, True)
    assert path.read_text() == damaged


def test_what_compiles_is_prepared_meanwhile(
    bench: Any, report: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The next part's rows are waited for; those of later parts end with the block."""
    gpu, networks, prepared = (bench(name) for name in ("gpu", "whole_networks", "prepared"))
    sleeps = "import sys, time; time.sleep(60 * int(sys.argv[-1]))"
    popen = subprocess.Popen

    def start(command: list[str], **options: Any) -> Any:
        return popen([sys.executable, "-c", sleeps, *command[-1:]], **options)

    rows = [
        networks.Row(task="forward", size=size, variant="new", ours=True, build=lambda: lambda: 1)
        for size in (networks.FIRST, (1, 512, 512))
    ]
    eager = replace(rows[0], variant="eager", compiles=False)
    monkeypatch.setattr(networks, "rows", lambda: iter([*rows, eager]))
    monkeypatch.setattr(prepared, "cpu_cores", lambda: prepared.TESTS_CORES + 2)
    monkeypatch.setattr(subprocess, "Popen", start)
    with prepared.preparing(report, gpu.ALL, 50.0) as compiles:
        assert compiles
    lines = sorted(capfd.readouterr().out.splitlines()[-2:])
    assert lines[0].startswith("compiled forward 1x256x256 new")
    assert lines[0].endswith(" s ")
    assert lines[1].startswith("compiled forward 1x512x512 new")
    assert lines[1].endswith("ended with status -9")


def test_why_something_could_not_be_prepared_is_said(
    bench: Any, report: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    networks, prepared = bench("whole_networks"), bench("prepared")
    popen = subprocess.Popen
    fails = "print('of no interest'); raise RuntimeError('CUDA out of memory')"

    def start(command: list[str], **options: Any) -> Any:
        return popen([sys.executable, "-c", fails], **options)

    row = networks.Row(
        task="step", size=networks.FIRST, variant="new", ours=True, build=lambda: lambda: 1
    )
    monkeypatch.setattr(networks, "rows", lambda: iter([row]))
    monkeypatch.setattr(subprocess, "Popen", start)
    with prepared.preparing(report, ["models"], 50.0):
        pass
    said = capfd.readouterr().out.splitlines()[-1]
    assert said.endswith("ended with status 1: RuntimeError: CUDA out of memory")


def test_large_steps_are_prepared_one_by_one_with_more_of_the_memory(
    bench: Any, report: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16 pictures do not fit into a fifth of 80 GB, and not three times 16 into all of it."""
    networks, prepared = bench("whole_networks"), bench("prepared")
    shares: list[float] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", shares.append)
    nice: list[int] = []
    monkeypatch.setattr(os, "nice", nice.append)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch._inductor.config, "autotune_local_cache", True)  # as it is later
    rows = [
        networks.Row(
            task="step", size=(batch, 256, 256), variant=str(number), ours=True,
            build=lambda: lambda: 1,
        )
        for number, batch in enumerate((1, 1, 16, 16, 16))
    ]  # fmt: skip
    monkeypatch.setattr(networks, "rows", lambda: iter(rows))
    prepared.prepare(1)
    prepared.prepare(2)
    assert shares == [prepared.MEMORY_SHARE, prepared.LARGE_SHARE]
    assert nice == [prepared.BEHIND] * 2, "the tests come first"
    at_once: list[int] = []
    run = [0]
    lock = threading.Lock()

    class Compiler:
        def __init__(self, command: list[str], **_: Any) -> None:
            self.large = int(command[-1]) >= 2

        def wait(self, seconds: float) -> int:
            if self.large:
                with lock:
                    run[0] += 1
                    at_once.append(run[0])
                time.sleep(0.05)
                with lock:
                    run[0] -= 1
            return 0

        pid = 1 << 30  # nobody's

    monkeypatch.setattr(prepared.subprocess, "Popen", Compiler)
    monkeypatch.setattr(prepared, "cpu_cores", lambda: prepared.TESTS_CORES + len(rows))
    report.tables.pop("models")
    with prepared.preparing(report, ["sizes", "models"], 50.0):
        deadline = time.monotonic() + 30
        while len(at_once) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert at_once[:3] == [1, 1, 1]


def test_the_table_of_block_sizes_keeps_other_rows(bench: Any, tmp_path: Path) -> None:
    blocks = bench("blocks")
    path = tmp_path / "blocks.json"
    path.write_text('{"sm_80": {"a": [1, 2, 3, 4]}}')
    blocks.write(path, "sm_90", {"b": [32, 64, 128, 4]})
    assert json.loads(path.read_text()) == {
        "sm_80": {"a": [1, 2, 3, 4]},
        "sm_90": {"b": [32, 64, 128, 4]},
    }


def test_block_sizes_are_searched_by_tiles_first_then_by_shares(bench: Any) -> None:
    blocks = bench("blocks")
    tried: list[list[int]] = []

    def time_of(row: list[int]) -> float:
        tried.append(row)
        return 0.1 + sum(abs(is_ - best) for is_, best in zip(row, (32, 64, 512))) / 1e4

    assert blocks.fastest(64, 1 << 16, 8, 1.0, time_of) == [32, 64, 512, 4]
    assert all(row[2] % row[0] == 0 for row in tried)
    assert len({tuple(row) for row in tried}) == len(tried) <= 12 + 3 * 4, "each is tried once"
    assert blocks.fastest(64, 1 << 16, 8, 1.0, lambda row: 0.99) is None


def test_what_a_search_compiles_is_compiled_before(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each tile of each operation, in both kinds of shares; what fails does not end it."""
    blocks = bench("blocks")
    launch, searches = blocks.launch, blocks.searches()
    jobs = blocks.jobs(searches)
    assert len(jobs) == len(set(jobs))
    for search in searches:
        for tile in blocks.tiles(search.channels, search.edge):
            assert all((search.channels, name, tile) in jobs for name, _ in search.cases)
    taken: list[Any] = []
    before = launch.blocks_for

    def call_pair(run: Any, shape: tuple[int, ...], operation: Any) -> Any:
        def call() -> None:
            taken.append((launch.blocks_for(None, 64 * 64, True, backward=True), launch.WHOLE))
            if len(taken) == 1:
                raise RuntimeError("out of resource: shared memory")

        return call, call

    monkeypatch.setattr(blocks, "call_pair", call_pair)
    blocks.compile_one((64, "norm relu", (32, 64, 4)))
    one, two = (launch.Blocks(pixels=32, channels=64, share=share, warps=4) for share in (32, 64))
    assert taken == [(one, 0), (two, 0), (two, 0)]
    assert launch.blocks_for is before


def test_images_held_whole_and_huge_batches_are_not_searched(bench: Any) -> None:
    launch = bench("blocks").launch
    searches = bench("blocks").searches()
    assert len({search.key for search in searches}) == len(searches)
    assert all(search.backward for search in searches if search.edge <= launch.WHOLE)
    alone = {(s.channels, s.edge, s.backward) for s in searches if s.images == 1}
    batch = {(s.channels, s.edge, s.backward) for s in searches if s.images > 1}
    assert {size for size in alone - batch if size[1] < 1 << 20} == set()
    assert alone - batch == {(64, 1 << 20, False), (64, 1 << 20, True)}


def test_a_row_of_block_sizes_that_no_longer_wins_goes(bench: Any, tmp_path: Path) -> None:
    """It would go on slowing down what the default does better by now."""
    blocks, path = bench("blocks"), tmp_path / "blocks.json"
    table = {"sm_80": {"a": [1, 2, 3, 4]}, "sm_90": {"a": [1, 2, 3, 4], "b": [5, 6, 7, 8]}}
    path.write_text(json.dumps(table))
    blocks.write(path, "sm_90", {"a": None})
    assert json.loads(path.read_text()) == {"sm_80": table["sm_80"], "sm_90": {"b": [5, 6, 7, 8]}}
    blocks.write(path, "sm_90", {"b": None})
    assert json.loads(path.read_text()) == {"sm_80": table["sm_80"]}
    path.write_text("{}\n")
    blocks.write(path, "sm_90", {"a": None})
    assert path.read_text() == "{}\n"


def rows_of(blocks: Any, search: Any) -> list[list[int]]:
    """The first two that a search tries."""
    size = search.channels, search.edge
    programs = blocks.PROGRAMS[0] // search.images
    return [blocks.in_shares(tile, *size, programs) for tile in blocks.tiles(*size)[:2]]


def test_block_sizes_that_do_not_run_do_not_end_the_search(
    bench: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = bench("blocks")
    search = blocks.searches()[0]
    bad, good = rows_of(blocks, search)

    def time_of(self: Any, calls: Any, arch: str, row: list[int] | None) -> float:
        if row == bad:
            raise RuntimeError("out of resource: shared memory")
        return 0.5 if row == good else 1.0

    monkeypatch.setattr(blocks.Search, "_calls", lambda self: [])
    monkeypatch.setattr(blocks.Search, "_time_of", time_of)
    assert search.best("sm_90") == good
    assert "RuntimeError: out of resource: shared memory" in capsys.readouterr().out


@pytest.mark.parametrize("wins", [True, False])
def test_a_search_of_block_sizes_leaves_what_it_found(
    bench: Any, monkeypatch: pytest.MonkeyPatch, wins: bool
) -> None:
    """The search of a gradient runs forward first: in these sizes, not in those tried last."""
    blocks = bench("blocks")
    launch, search = blocks.launch, blocks.searches()[0]
    _, good = rows_of(blocks, search)
    table: dict[str, Any] = {}
    monkeypatch.setattr(launch, "_table", lambda: table)
    monkeypatch.setattr(blocks, "calls_of", lambda *_: ([], []))

    def timed(calls: Any) -> Any:
        row = table["sm_90"].get(search.key)
        return SimpleNamespace(ms=0.5 if wins and row == good else 1.0)

    monkeypatch.setattr(blocks, "timed", timed)
    launch._blocks.cache_clear()
    assert search.best("sm_90") == (good if wins else None)
    x = torch.empty(search.images, search.channels, 1, 1, dtype=torch.float16, device="meta")
    monkeypatch.setattr(launch, "_arch", lambda device: "sm_90")
    found = launch.blocks_for(x, search.edge, True)
    default = launch.default(search.channels, search.edge, True)
    assert ([found.pixels, found.channels, found.share, found.warps] == good) is wins
    assert (found == default) is not wins
    assert launch.blocks_for(x[:1], search.edge, True) == default, "a batch's row is not one's own"
    launch._blocks.cache_clear()


def test_a_search_of_block_sizes_ends_in_time_and_goes_on(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks, clock = bench("blocks"), [0.0]
    path = tmp_path / "blocks.json"
    path.write_text("{}")
    seconds = iter((10.0, 30.0, 20.0, 10.0))

    def best(search: Any, arch: str) -> list[int] | None:
        clock[0] += next(seconds)
        return [32, 64, 128, 4] if search.backward else None

    monkeypatch.setattr(blocks.Search, "best", best)
    monkeypatch.setattr(blocks.time, "monotonic", lambda: clock[0])
    four = blocks.searches()[:4]
    assert blocks.search_all(four, 0, 1, "sm_90", path) == 2, "a third may take 30 s again"
    assert blocks.search_all(four, 2, 1, "sm_90", path) is None
    found = json.loads(path.read_text())["sm_90"]
    assert set(found) == {search.key for search in four if search.backward}


def test_who_catches_everything_is_stopped_all_the_same(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compilers wrap every Exception of their passes; a finaliser drops whatever is raised."""
    time_limit = bench("time_limit")
    monkeypatch.setattr(time_limit, "AGAIN", 0.05)
    dropped: list[str] = []

    def stubborn() -> None:
        try:
            time.sleep(60)
        except Exception:
            time.sleep(60)
        except BaseException as error:
            dropped.append(type(error).__name__)
        time.sleep(60)

    started = time.monotonic()
    with pytest.raises(TimeoutError, match=r"after 0\.05 seconds"), time_limit.at_most(0.05):
        stubborn()
    assert dropped == ["_Over"]
    assert time.monotonic() - started < 30


def test_a_step_whose_compilation_fails_is_not_a_figure(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training goes on without it; a benchmark's row would say that it was compiled."""
    gpu, steps = bench("whole_networks"), bench("steps")
    _pretend_a_gpu(monkeypatch)

    def fail(*_: Any, **__: Any) -> Any:
        from torch._inductor.exc import InductorError

        raise InductorError(RuntimeError("no such kernel"), None)

    monkeypatch.setattr(torch, "compile", lambda phase, **_: fail)
    variant = steps.VARIANTS["bfloat16, phases compiled"]
    pictures = torch.rand(2, 1, 3, 32, 32)
    row = gpu.Row(
        task="step", size=(1, 32, 32), variant="phases", ours=True,
        build=lambda: steps.step_call(variant, steps.new_model(variant, "cpu", SMALL), *pictures),
    )  # fmt: skip
    found, _ = gpu._timed(row, 60.0)
    assert found["ms"] is None
    assert "torch.compile failed" in found["error"]
