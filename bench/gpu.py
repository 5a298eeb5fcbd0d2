"""Everything that needs a GPU, in commands of at most nine minutes: ``python -m bench.gpu``.

Runs on a machine with nothing but PyTorch, Triton, NumPy, pytest and pytest-benchmark:

1. the kernel tests on the GPU, all files at once; meanwhile torch.compile fills its caches with
   what 2 and 5 need, on all cores;
2. whole networks at 256x256, batch 1: forward in PyTorch's layouts and on our kernels, and the
   training step of all four networks (``bench/steps.py``) in float32, and in bfloat16 on our
   kernels;
3. each kernel against a copy's rate (``bench/kernels.py``);
4. TensorRT, where one is installed (``bench/tensorrt.py``);
5. whole networks in larger batches and sizes, until the time is over.

    python -m bench.gpu --continue              # measures what is missing, or failed
    python -m bench.gpu --only kernels sizes    # measures these anew, keeps the other rows

Results go to bench/results/<gpu>/gpu.json and gpu.md, row by row. Each of 2 to 5 is a process of
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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import kernels, steps
from bench import tensorrt as trt
from bench.report import Report, gpu_or_exit
from bench.time_limit import at_most
from cyclegan.cpu import cpu_cores
from cyclegan.networks import ResnetGenerator

ROOT = Path(__file__).parent.parent
SECONDS = 540
TEST_SECONDS = 180
PREPARE_SECONDS = 210
"""From the start of all until whole networks are compiled, or compile while they are measured."""
TESTS_CORES = 6
"""Cores that are left to the tests meanwhile."""
MEMORY_SHARE = 0.2
"""Of the GPU's, for each of those that compile."""
ROW_SECONDS = 150
"""Of one row of whole networks, compilation included."""
GRACE = 15
"""Seconds between a part's limit and its end by force: its start, and its last words."""

FIRST = (1, 256, 256)
"""(batch, height, width) that is measured before all others."""
MODELS = [FIRST, (16, 256, 256), (1, 512, 512), (1, 720, 1280)]
STEPS = [FIRST, (16, 256, 256)]
VARIANTS = {
    # name: (layout, our kernels, a CUDA graph around it)
    "NCHW compiled": (torch.contiguous_format, False, False),
    "channels-last compiled": (torch.channels_last, False, False),
    "ours": (torch.channels_last, True, False),
    "ours, CUDA graph": (torch.channels_last, True, True),
}


def start_tests(report: Report) -> dict[str, subprocess.Popen[str]]:
    """The kernel tests, one process a file, on the GPU; those that have passed already are not."""
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
        if not report.has("tests", file=path.name)
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
        last = (output.strip() or "no output").splitlines()[-1].strip("= ")
        report.add("tests", file=name, result=last, passed=good)
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
    compiles: bool = True
    """Whether it needs torch.compile, and nothing before it has compiled the same."""

    @property
    def part(self) -> str:
        """What measures it."""
        return part_of(self.named)

    @property
    def named(self) -> dict[str, str]:
        """What tells its row from others."""
        size = "x".join(map(str, self.size))
        return {"task": self.task, "size": size, "variant": self.variant}


def part_of(row: dict[str, Any]) -> str:
    """Which part measures this row of the table ``models``."""
    return "models" if row["size"] == "x".join(map(str, FIRST)) else "sizes"


def rows() -> Iterator[Row]:
    """All that is to be measured, in order."""
    for first in (True, False):
        for size in MODELS:
            for name, (layout, ours, graph) in VARIANTS.items():
                build: Any = functools.partial(forward_row, *size, layout, graph)
                row = Row(
                    task="forward", size=size, variant=name, ours=ours, build=build,
                    compiles=not graph,
                )  # fmt: skip
                if (size == FIRST) == first:
                    yield row
        for name, variant in steps.VARIANTS.items():  # the slowest to compile last
            for size in STEPS:
                build = functools.partial(step_row, size[0], size[1], variant)
                row = Row(
                    task="step", size=size, variant=name, ours=variant.ours, build=build,
                    compiles=variant.compiled != "nothing",
                )  # fmt: skip
                if (size == FIRST) == first:
                    yield row


def measure_models(report: Report, deadline: float, part: str = "models") -> None:
    """Pictures per second of each task, size and variant of this part.

    Those that the report has already are left; one that fails is a row too.
    """
    for row in rows():
        if row.part != part or report.has("models", **row.named):
            continue
        if time.monotonic() > deadline:
            report.facts[part] = "stopped at the time limit"
            report.write()
            return
        with kernels.either(row.ours), steps.without_tf32():
            limit = min(ROW_SECONDS, deadline - time.monotonic())
            figures = _timed(row.build, row.size[0], limit)
        report.add("models", **row.named, **figures)


def prepare(number: int) -> None:
    """Compiles what the row of this number needs, by running it once: the caches on disk have it.

    Block sizes of Inductor's own kernels are left to be chosen when nothing else runs.
    """
    import torch._inductor.config as inductor

    inductor.autotune_local_cache = False
    torch.cuda.set_per_process_memory_fraction(MEMORY_SHARE)
    torch._dynamo.reset()
    row = list(rows())[number]
    with kernels.either(row.ours), steps.without_tf32():
        row.build()()
    torch.cuda.synchronize()  # an error of the GPU is to be seen here


@contextmanager
def preparing(report: Report, wanted: Sequence[str], seconds: float) -> Iterator[None]:
    """Meanwhile compiles what the ``wanted`` parts have still to measure.

    As many at once as cores are free, each in a process of its own. Waits at the end for those of
    the part that is measured next; what is not done then, or after ``seconds``, is stopped, and
    compiles when it is measured.
    """
    deadline = time.monotonic() + seconds
    running: dict[int, subprocess.Popen[bytes]] = {}

    def one(number: int, name: str) -> None:
        if (started := time.monotonic()) >= deadline:
            return
        running[number] = subprocess.Popen(
            [sys.executable, "-m", "bench.gpu", "--prepare", str(number)],
            cwd=ROOT, env={**os.environ, "TORCHINDUCTOR_COMPILE_THREADS": "2"},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        why = ended(running[number], deadline - started)
        del running[number]
        print("compiled", name, f"{time.monotonic() - started:.0f} s", why, flush=True)

    lacking = [
        (row.part, number, " ".join(row.named.values()))
        for number, row in enumerate(rows())
        if row.compiles and row.part in wanted and not report.has("models", **row.named)
    ]
    pool = ThreadPoolExecutor(max(1, cpu_cores() - TESTS_CORES))
    submitted = [(part, pool.submit(one, number, name)) for part, number, name in lacking]
    try:
        yield
        wait([job for part, job in submitted if part == lacking[0][0]])
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        while not all(job.done() for _, job in submitted):
            for process in list(running.values()):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            time.sleep(0.1)


def measure_tensorrt(report: Report, deadline: float) -> None:
    """Plans, as far as a TensorRT is here; what is not here, or fails, is a row too."""
    if "tensorrt" in report.tables:
        return
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
    "models": Part(measure=measure_models, end=320),
    "kernels": Part(measure=kernels.measure, end=420),
    "tensorrt": Part(measure=measure_tensorrt, end=460),
    "sizes": Part(measure=functools.partial(measure_models, part="sizes"), end=SECONDS - 2 * GRACE),
}
ALL = ("tests", *PARTS)


def ended(process: subprocess.Popen[Any], seconds: float) -> str:
    """Waits for a process that leads its own session; "", or why it did not end by itself and well.

    One that does not end in time is killed, with all that it started.
    """
    try:
        status = process.wait(max(seconds, 0))
        return f"ended with status {status}" * bool(status)
    except subprocess.TimeoutExpired:
        return "killed"
    finally:
        with suppress(ProcessLookupError):  # workers that it left behind end as well
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def command(name: str, path: Path, seconds: float) -> list[str]:
    """Runs a part on the report at ``path``."""
    return [sys.executable, "-m", "bench.gpu", "--part", name, str(path), f"{seconds:.0f}"]


def run_part(report: Report, name: str, seconds: float) -> tuple[Report, bool]:
    """The report with what the part has added, and whether it ended by itself and well.

    A part ends before ``seconds`` are over; one that does not is killed GRACE seconds later. Rows
    that it has finished are on disk.
    """
    process = subprocess.Popen(
        command(name, report.path, seconds), cwd=ROOT, start_new_session=True
    )
    why = ended(process, max(seconds, 0) + GRACE)
    if why == "killed":
        why = f"killed: not over {GRACE} seconds after its limit of {seconds:.0f}"
    report = Report.read(report.path)
    if why:
        report.facts[name] = why
    report.write()
    return report, not why


def begin(only: Sequence[str] | None, goes_on: bool) -> Report:
    """An empty report, or one with the rows that are not to be measured again."""
    report = gpu_or_exit("gpu")
    if not (only or goes_on) or not report.path.with_suffix(".json").exists():
        return report
    before = Report.read(report.path)
    try:
        report.go_on_from(before)
    except ValueError as error:
        sys.exit(str(error))
    whole = goes_on and _tensorrt_is_whole(before)

    def stays(table: str, row: dict[str, Any]) -> bool:
        part = part_of(row) if table == "models" else table.removesuffix("_checks")
        if part not in (only or ALL):
            return True
        if part == "tensorrt":
            return whole
        return goes_on and row.get("passed", True) and not row.get("error")

    for table in list(report.tables):
        report.keep(table, functools.partial(stays, table))
    report.write()
    return report


def _tensorrt_is_whole(report: Report) -> bool:
    """Whether it came to its end, and ran something: refusals are results."""
    results = [row["result"].partition(":")[0] for row in report.tables.get("tensorrt", ())]
    return (
        "tensorrt" not in report.facts
        and not {"ran", "refused"}.isdisjoint(results)
        and ("stopped" not in results)
    )


def main(arguments: list[str] | None = None) -> None:
    """All parts, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=ALL, help="these parts, with all the time")
    parser.add_argument(
        "--continue", dest="goes_on", action="store_true",
        help="keep what the report has, measure what is missing or failed",
    )  # fmt: skip
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)  # how parts are started
    parser.add_argument("--prepare", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    start = time.monotonic()
    if given.part:
        name, path, seconds = given.part
        PARTS[name].measure(Report.read(Path(path)), start + float(seconds))
        return
    if given.prepare is not None:
        prepare(given.prepare)
        return
    wanted = given.only or ALL
    report = begin(given.only, given.goes_on)
    with preparing(report, wanted, PREPARE_SECONDS):
        good = "tests" not in wanted or finish_tests(report, start_tests(report))
    report.write()
    parts = {name: part for name, part in PARTS.items() if name in wanted}
    for name, part in parts.items():
        end = part.end if name != list(parts)[-1] else PARTS["sizes"].end
        report, well = run_part(report, name, start + end - time.monotonic())
        good = good and well
    print(report.path.with_suffix(".md"), f"{time.monotonic() - start:.0f} s")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
