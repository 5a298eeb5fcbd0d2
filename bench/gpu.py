"""Everything that needs a GPU, in one command of at most nine minutes: ``python -m bench.gpu``.

Runs on a machine with nothing but PyTorch, Triton, NumPy, pytest and pytest-benchmark:

1. the kernel tests on the GPU, all files at once;
2. whole networks: forward and training step, in PyTorch's layouts and on our kernels;
3. each kernel against a copy's rate (``bench/kernels.py``), until the time is over.

Results go to bench/results/<gpu>/gpu.json and gpu.md, row by row. Ends with status 1 where a test
failed, after all has been measured.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench import kernels
from bench.report import Report, gpu_or_exit
from cyclegan.networks import PatchDiscriminator, ResnetGenerator

ROOT = Path(__file__).parent.parent
SECONDS = 540
TEST_SECONDS = 180
MODEL_SECONDS = 330
"""From the start: what is not measured by then makes room for the kernels."""

MODELS = [
    # (batch, height, width); the last two fill a GPU.
    (1, 256, 256), (16, 256, 256), (1, 512, 512), (1, 720, 1280),
]  # fmt: skip
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


def step_call(x: Tensor, layout: torch.memory_format) -> Callable[[], object]:
    """A generator's step against a discriminator in bfloat16: forward, backward, Adam."""
    generator = ResnetGenerator().cuda().to(memory_format=layout)
    judge = PatchDiscriminator().cuda().to(memory_format=layout).requires_grad_(False)
    optimizer = torch.optim.Adam(generator.parameters(), 2e-4, fused=True, capturable=True)
    x = x.to(memory_format=layout)

    def loss_of(generator: nn.Module, judge: nn.Module, x: Tensor) -> Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            fake = generator(x)
            logits = judge(fake)
        adversarial = F.mse_loss(logits.float(), torch.ones_like(logits, dtype=torch.float32))
        return adversarial + 10 * F.l1_loss(fake.float(), x)

    compiled = torch.compile(loss_of, fullgraph=True, dynamic=False)

    def call() -> object:
        optimizer.zero_grad(set_to_none=True)
        loss = compiled(generator, judge, x)
        loss.backward()
        optimizer.step()
        return loss

    return call


TASKS: dict[str, Callable[[Tensor, torch.memory_format], Callable[[], object]]] = {
    "forward": forward_call,
    "step": step_call,
}


def measure_models(report: Report, deadline: float) -> None:
    """Frames per second of each task, size and variant; a variant that fails is a row too."""
    for batch, height, width in MODELS:
        for task, build in TASKS.items():
            if task == "step" and (height, width) != (256, 256):
                continue
            for name, (layout, ours, graph) in VARIANTS.items():
                if time.monotonic() > deadline:
                    report.facts["models"] = "stopped at the time limit"
                    return
                row = {"task": task, "size": f"{batch}x{height}x{width}", "variant": name}
                with kernels.either(ours):
                    row |= _timed(build, torch.randn(batch, 3, height, width), layout, graph)
                report.add("models", **row)


def _timed(build: Any, x: Tensor, layout: torch.memory_format, graph: bool) -> dict[str, Any]:
    torch._dynamo.reset()
    torch.manual_seed(0)
    try:
        call = build(x.cuda(), layout)
        took = seconds_of(graphed(call) if graph else call)
    except Exception as error:  # the other rows must not be lost with this one
        return {"ms": "failed", "frames_per_s": f"{type(error).__name__}: {error}"[:200]}
    return {"ms": round(1e3 * took, 3), "frames_per_s": round(len(x) / took, 1)}


def main() -> None:
    start = time.monotonic()
    report = gpu_or_exit("gpu")
    passed = finish_tests(report, start_tests())
    measure_models(report, start + MODEL_SECONDS)
    kernels.measure(report, start + SECONDS - 20)
    report.write()
    print(report.path.with_suffix(".md"), f"{time.monotonic() - start:.0f} s")
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
