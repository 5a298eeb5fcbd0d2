"""Everything that needs a GPU, in one command of at most nine minutes: ``python -m bench.gpu``.

Runs on a machine with nothing but PyTorch, Triton, NumPy, pytest and pytest-benchmark:

1. the kernel tests on the GPU, all files at once;
2. whole networks: forward in PyTorch's layouts and on our kernels, and the training step of all
   four networks (``bench/steps.py``) in float32, and in bfloat16 on our kernels;
3. TensorRT, where one is installed (``bench/tensorrt.py``);
4. each kernel against a copy's rate (``bench/kernels.py``), until the time is over.

Results go to bench/results/<gpu>/gpu.json and gpu.md, row by row. Each of 2 to 4 is a process of
its own with a limit of time, as each test file is: one that hangs or crashes is named among the
facts, and its rows are kept. Ends with status 1 where a test failed or a part did not end by
itself, after all has been measured.
"""

import argparse
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import kernels, steps
from bench import tensorrt as trt
from bench.report import Report, gpu_or_exit
from bench.time_limit import at_most
from cyclegan.networks import ResnetGenerator

ROOT = Path(__file__).parent.parent
SECONDS = 540
TEST_SECONDS = 180
ROW_SECONDS = 120
"""Of one row of whole networks, compilation included."""
GRACE = 15
"""Seconds between a part's limit and its end by force: its start, and its last words."""

MODELS = [
    # (batch, height, width); the last two fill a GPU.
    (1, 256, 256), (16, 256, 256), (1, 512, 512), (1, 720, 1280),
]  # fmt: skip
STEPS = [(1, 256, 256), (16, 256, 256)]
VARIANTS = {
    # name: (layout, our kernels, a CUDA graph around it)
    "NCHW compiled": (torch.contiguous_format, False, False),
    "channels-last compiled": (torch.channels_last, False, False),
    "ours": (torch.channels_last, True, False),
    "ours, CUDA graph": (torch.channels_last, True, True),
}


def start_tests() -> dict[str, subprocess.Popen[str]]:
    """The kernel tests, one process a file, on the GPU."""
    tests = ROOT / "tests/kernels"
    return {
        path.name: subprocess.Popen(
            [
                sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--noconftest",
                "-W", "default", "-o", "python_files=on_*.py", "-o", f"pythonpath={tests}", path,
            ],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for path in sorted(tests.glob("on_*.py"))
    }  # fmt: skip


def finish_tests(report: Report, running: dict[str, subprocess.Popen[str]]) -> bool:
    """Waits for them, notes each file's last line, prints what failed. True if all passed."""
    deadline, passed = time.monotonic() + TEST_SECONDS, True
    for name, process in running.items():
        try:
            output, _ = process.communicate(timeout=max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            output += f"\nstopped after {TEST_SECONDS} seconds"
        # 5: nothing to run here, as for the mutations, which need the interpreter.
        good = process.returncode in (0, 5)
        passed = passed and good
        if not good:
            print(output, flush=True)
        report.add("tests", file=name, result=output.strip().splitlines()[-1].strip("= "))
    return passed


def graphed(call: Callable[[], object]) -> Callable[[], object]:
    """``call`` captured once; the result replays it."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.synchronize()  # capture must not begin before the warm-up has ended
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        call()
    return graph.replay


def seconds_of(call: Callable[[], object], repeats: int = 20) -> float:
    """Median wall time of a call, from the host's start to the GPU's end: launches count."""
    for _ in range(5):
        call()
    times = []
    for _ in range(repeats):
        torch.cuda.synchronize()  # begin with an idle GPU
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()  # the result is there
        times.append(time.perf_counter() - start)
    return sorted(times)[repeats // 2]


def forward_call(x: Tensor, layout: torch.memory_format) -> Callable[[], object]:
    """The paper's generator of nine blocks, half precision, compiled."""
    generator = ResnetGenerator().cuda().half().eval().to(memory_format=layout)
    compiled = torch.compile(generator, fullgraph=True, dynamic=False)
    x = x.half().to(memory_format=layout)

    def call() -> object:
        with torch.inference_mode():
            return compiled(x)

    return call


def forward_row(
    batch: int, height: int, width: int, layout: torch.memory_format, graph: bool
) -> Callable[[], object]:
    """A forward pass, ready to be timed."""
    call = forward_call(torch.randn(batch, 3, height, width, device="cuda"), layout)
    return graphed(call) if graph else call


def step_row(batch: int, size: int, variant: steps.Variant) -> Callable[[], object]:
    """A training step of the paper's networks, ready to be timed."""
    real_a, real_b = torch.rand(2, batch, 3, size, size, device="cuda") * 2 - 1
    return steps.step_call(steps.new_model(variant, "cuda"), real_a, real_b)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure of whole networks."""

    task: str
    size: tuple[int, int, int]
    variant: str
    ours: bool
    build: Callable[[], Callable[[], object]]


def rows() -> Iterator[Row]:
    """All that is to be measured, in order."""
    for size in MODELS:
        for name, (layout, ours, graph) in VARIANTS.items():
            build: Any = functools.partial(forward_row, *size, layout, graph)
            yield Row(task="forward", size=size, variant=name, ours=ours, build=build)
    for name, variant in steps.VARIANTS.items():  # the slowest to compile last
        for size in STEPS:
            build = functools.partial(step_row, size[0], size[1], variant)
            yield Row(task="step", size=size, variant=name, ours=variant.ours, build=build)


def measure_models(report: Report, deadline: float) -> None:
    """Pictures per second of each task, size and variant; one that fails is a row too."""
    for row in rows():
        if time.monotonic() > deadline:
            report.facts["models"] = "stopped at the time limit"
            report.write()
            return
        with kernels.either(row.ours), steps.without_tf32():
            limit = min(ROW_SECONDS, deadline - time.monotonic())
            figures = _timed(row.build, row.size[0], limit)
        size = "x".join(map(str, row.size))
        report.add("models", task=row.task, size=size, variant=row.variant, **figures)


def measure_tensorrt(report: Report, deadline: float) -> None:
    """Plans, as far as a TensorRT is here; what is not here, or fails, is a row too."""
    try:
        with at_most(deadline - time.monotonic()):
            trt.measure(report)
    except Exception as error:  # the kernels' rows must not be lost with it
        trt.add(report, "all", f"stopped: {kernels.brief(error)}")


def _timed(
    build: Callable[[], Callable[[], object]], pictures: int, seconds: float
) -> dict[str, Any]:
    torch._dynamo.reset()
    torch.manual_seed(0)
    try:
        with at_most(seconds):
            took = seconds_of(build())
    except Exception as error:  # the other rows must not be lost with this one
        return {"ms": None, "pictures_per_s": None, "error": kernels.brief(error)}
    return {"ms": round(1e3 * took, 3), "pictures_per_s": round(pictures / took, 1), "error": ""}


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is measured in a process of its own, so that nothing in it can take the rest along."""

    measure: Callable[[Report, float], None]
    """Adds rows to the report until the deadline, a time of the monotonic clock."""
    end: float
    """Seconds from the start of all at which it must be over."""


PARTS = {
    "models": Part(measure=measure_models, end=330),
    "tensorrt": Part(measure=measure_tensorrt, end=420),
    "kernels": Part(measure=kernels.measure, end=SECONDS - 2 * GRACE),
}


def command(name: str, path: Path, seconds: float) -> list[str]:
    """Runs a part on the report at ``path``."""
    return [sys.executable, "-m", "bench.gpu", name, str(path), f"{seconds:.0f}"]


def run_part(report: Report, name: str, seconds: float) -> tuple[Report, bool]:
    """The report with what the part has added, and whether it ended by itself and well.

    A part ends before ``seconds`` are over; one that does not is killed, with all that it started,
    GRACE seconds later. Rows that it has finished are on disk.
    """
    process = subprocess.Popen(
        command(name, report.path, seconds), cwd=ROOT, start_new_session=True
    )
    why = ""
    try:
        status = process.wait(max(seconds, 0) + GRACE)
        why = f"ended with status {status}" * bool(status)
    except subprocess.TimeoutExpired:
        why = f"killed: not over {GRACE} seconds after its limit of {seconds:.0f}"
    finally:
        with suppress(ProcessLookupError):  # workers that it left behind end as well
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    report = Report.read(report.path)
    if why:
        report.facts[name] = why
    report.write()
    return report, not why


def main(arguments: list[str] | None = None) -> None:
    """All parts, or the one that is named (which is how the others are started)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("report", nargs="?", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("seconds", nargs="?", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    start = time.monotonic()
    if given.part:
        PARTS[given.part].measure(Report.read(given.report), start + given.seconds)
        return
    report = gpu_or_exit("gpu")
    good = finish_tests(report, start_tests())
    for name, part in PARTS.items():
        report, well = run_part(report, name, start + part.end - time.monotonic())
        good = good and well
    print(report.path.with_suffix(".md"), f"{time.monotonic() - start:.0f} s")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
