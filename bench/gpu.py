"""Everything that needs a GPU, in one command of at most nine minutes: ``python -m bench.gpu``.

Runs on a machine with nothing but PyTorch, Triton, NumPy, pytest and pytest-benchmark:

1. the kernel tests on the GPU, all files at once;
2. whole networks: forward in PyTorch's layouts and on our kernels, and the training step of all
   four networks (``bench/steps.py``) in float32, and in bfloat16 on our kernels;
3. TensorRT, where one is installed (``bench/tensorrt.py``);
4. each kernel against a copy's rate (``bench/kernels.py``), until the time is over.

Results go to bench/results/<gpu>/gpu.json and gpu.md, row by row. Ends with status 1 where a test
failed, after all has been measured.
"""

import functools
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import kernels, steps
from bench import tensorrt as trt
from bench.report import Report, gpu_or_exit
from cyclegan.networks import ResnetGenerator

ROOT = Path(__file__).parent.parent
SECONDS = 540
TEST_SECONDS = 180
MODEL_SECONDS = 330
"""From the start: what is not measured by then makes room for the kernels."""
ROW_SECONDS = 180
"""Of one row, compilation included: the last may begin just before MODEL_SECONDS."""
TENSORRT_SECONDS = 90

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
            return
        with kernels.either(row.ours), steps.without_tf32():
            figures = _timed(row.build, row.size[0])
        size = "x".join(map(str, row.size))
        report.add("models", task=row.task, size=size, variant=row.variant, **figures)


def measure_tensorrt(report: Report) -> None:
    """Plans, as far as a TensorRT is here; what is not here, or fails, is a row too."""
    try:
        with at_most(TENSORRT_SECONDS):
            trt.measure(report)
    except Exception as error:  # the kernels' rows must not be lost with it
        trt.add(report, "all", f"stopped: {kernels.brief(error)}")


def _timed(build: Callable[[], Callable[[], object]], pictures: int) -> dict[str, Any]:
    torch._dynamo.reset()
    torch.manual_seed(0)
    try:
        with at_most(ROW_SECONDS):
            took = seconds_of(build())
    except Exception as error:  # the other rows must not be lost with this one
        return {"ms": None, "pictures_per_s": None, "error": kernels.brief(error)}
    return {"ms": round(1e3 * took, 3), "pictures_per_s": round(pictures / took, 1), "error": ""}


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in what takes longer, a compilation for example."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"stopped after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def main() -> None:
    start = time.monotonic()
    report = gpu_or_exit("gpu")
    passed = finish_tests(report, start_tests())
    measure_models(report, start + MODEL_SECONDS)
    measure_tensorrt(report)
    kernels.measure(report, start + SECONDS - 20)
    report.write()
    print(report.path.with_suffix(".md"), f"{time.monotonic() - start:.0f} s")
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
