"""Whole networks on a GPU: forward passes, and training steps of all four.

Part of ``bench/gpu.py``. N batch, H height, W width. PyTorch's layouts and plain compilation stand
beside our kernels; times are the host's, launches included. Pictures, and the losses of the first
step, are compared with those of float32 on PyTorch's own operators before anything is timed.
"""

import functools
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from bench import steps
from bench.kernel_times import KernelTime, kernel_times
from bench.report import Report, brief
from bench.switches import either, without_kernels
from bench.time_limit import at_most
from cyclegan.engine.runners.placing import without_tf32
from cyclegan.networks import ResnetGenerator, prepare_for_inference
from cyclegan.phases import Losses

ROW_SECONDS = 150
"""Of one row, compilation included."""
DEVICE = "cuda"
NEAR = 0.02
"""Relative distance of pictures from float32's in the L2 norm; more is a wrong result. float16
makes 0.003 of it in the paper's generator."""

FIRST = (1, 256, 256)
"""(batch, height, width) that is measured before all others."""
MODELS = [FIRST, (16, 256, 256), (1, 512, 512), (1, 720, 1280)]
STEPS = [FIRST, (16, 256, 256)]
VARIANTS = {
    # name: (layout, our kernels, whether compiled, a CUDA graph around it)
    "NCHW compiled": (torch.contiguous_format, False, True, False),
    "channels-last compiled": (torch.channels_last, False, True, False),
    "ours": (torch.channels_last, True, True, False),
    "ours, CUDA graph": (torch.channels_last, True, True, True),
    "ours eager, CUDA graph": (torch.channels_last, True, False, True),
}
"""The last is what a translator runs small frames with."""
LOOKED_INTO = ("ours, CUDA graph", "bfloat16, phases compiled, CUDA graphs")
"""Variants whose kernels are listed: where their time goes."""
LONGEST = 25
"""So many."""


def graphed(call: Callable[[], object]) -> Callable[[], object]:
    """``call`` captured once; the result replays it, and gives what it writes each time."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.synchronize()  # capture must not begin before the warm-up has ended
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        made = call()

    def replay() -> object:
        graph.replay()
        return made

    return replay


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


def forward_call(x: Tensor, layout: torch.memory_format, compiled: bool) -> Callable[[], object]:
    """The paper's generator of nine blocks, half precision."""
    generator = ResnetGenerator().to(DEVICE).half().eval().to(memory_format=layout)
    prepare_for_inference(generator)
    run: Callable[[Tensor], Tensor] = generator
    if compiled:
        run = torch.compile(generator, fullgraph=True, dynamic=False)
    x = x.half().to(memory_format=layout)

    def call() -> object:
        with torch.inference_mode():
            return run(x)

    return call


def forward_row(
    batch: int, height: int, width: int, layout: torch.memory_format, compiled: bool, graph: bool
) -> Callable[[], object]:
    """A forward pass, ready to be timed."""
    torch.manual_seed(0)
    call = forward_call(torch.randn(batch, 3, height, width, device=DEVICE), layout, compiled)
    return graphed(call) if graph else call


@functools.cache
def exact_pictures(batch: int, height: int, width: int) -> Tensor:
    """What :func:`forward_row` computes, in float32 and by PyTorch's own operators."""
    torch.manual_seed(0)
    x = torch.randn(batch, 3, height, width, device=DEVICE)
    with without_kernels(), without_tf32(), torch.inference_mode():
        return ResnetGenerator().to(DEVICE).eval()(x)


def check_pictures(batch: int, height: int, width: int, made: Tensor) -> None:
    """Raises AssertionError where these are not the pictures of :func:`forward_row`."""
    exact = exact_pictures(batch, height, width)
    distance = float((made.float() - exact).norm() / exact.norm())
    assert distance < NEAR, f"wrong pictures: {distance:.3g} from float32's, up to {NEAR}"


def step_row(batch: int, size: int, variant: steps.Variant) -> Callable[[], object]:
    """A training step of the paper's networks, ready to be timed."""
    torch.manual_seed(0)
    real_a, real_b = torch.rand(2, batch, 3, size, size, device=DEVICE) * 2 - 1
    return steps.step_call(variant, steps.new_model(variant, DEVICE), real_a, real_b)


@functools.cache
def exact_losses(batch: int, size: int) -> dict[str, float]:
    """Of the first step of :func:`step_row`, in float32, picture by picture to spare memory."""
    torch.manual_seed(0)
    real_a, real_b = torch.rand(2, batch, 3, size, size, device=DEVICE) * 2 - 1
    with without_kernels(), without_tf32():
        model = steps.new_model(steps.VARIANTS[steps.EXACT], DEVICE)
        return model.step(real_a, real_b, passes=batch).as_floats()


def check_losses(batch: int, size: int, made: Losses) -> None:
    """Raises AssertionError where these are not the losses of a first step."""
    steps.check_losses("wrong losses", made.as_floats(), exact_losses(batch, size))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure of whole networks."""

    task: str
    size: tuple[int, int, int]
    variant: str
    ours: bool
    build: Callable[[], Callable[[], object]]
    check: Callable[[Any], object] = bool
    """Raises AssertionError where what the first call gives is wrong."""
    compiles: bool = True
    """Whether it needs torch.compile, and nothing before it has compiled the same."""

    @property
    def part(self) -> str:
        """What measures it."""
        return part_of(self.named)

    @property
    def is_large(self) -> bool:
        """Whether it takes much of a GPU's memory: a step keeps the activations of six passes of
        the generators for each of its pictures."""
        return self.task == "step" and self.size[0] > 1

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
            for name, (layout, ours, compiled, graph) in VARIANTS.items():
                build: Any = functools.partial(forward_row, *size, layout, compiled, graph)
                row = Row(
                    task="forward", size=size, variant=name, ours=ours, build=build,
                    check=functools.partial(check_pictures, *size), compiles=not graph,
                )  # fmt: skip
                if (size == FIRST) == first:
                    yield row
        for name, variant in steps.VARIANTS.items():  # the slowest to compile last
            for size in STEPS:
                build = functools.partial(step_row, size[0], size[1], variant)
                row = Row(
                    task="step", size=size, variant=name, ours=variant.ours, build=build,
                    check=functools.partial(check_losses, size[0], size[1]),
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
        with either(row.ours), without_tf32():
            limit = min(ROW_SECONDS, deadline - time.monotonic())
            figures, times = _timed(row, limit)
        report.add("models", **row.named, **figures)
        report.drop("launches", **row.named)
        for kernel in times[:LONGEST] if row.variant in LOOKED_INTO else ():
            report.add("launches", **row.named, **asdict(kernel))


def ran_ours(times: list[KernelTime]) -> bool:
    """Whether these are of our kernels too: a figure of something else would bear a false name."""
    return any(time.kernel.startswith(("in_apply", "in_whole")) for time in times)


def graphs_skipped() -> int:
    """How many graphs Inductor has run so far kernel by kernel that were to be CUDA graphs."""
    from torch._dynamo.utils import counters

    return counters["inductor"]["cudagraph_skips"]


def _timed(row: Row, seconds: float) -> tuple[dict[str, Any], list[KernelTime]]:
    """Figures of a row, and what the GPU does meanwhile: ``gpu_ms`` are all kernels together."""
    torch._dynamo.reset()
    skipped = graphs_skipped()
    try:
        with at_most(seconds), warnings.catch_warnings():
            # Training goes on eager, with a warning; such a figure would bear a false name.
            warnings.filterwarnings("error", "torch.compile failed")
            call = row.build()
            row.check(call())
            took = seconds_of(call)
            times = kernel_times(call)
            if ran_ours(times) != row.ours:
                raise AssertionError(f"our kernels ran: {not row.ours}; expected {row.ours}")
            if skipped := graphs_skipped() - skipped:
                raise AssertionError(f"{skipped} graphs did not become CUDA graphs")
    except Exception as error:  # the other rows must not be lost with this one
        return {"ms": None, "pictures_per_s": None, "gpu_ms": None, "error": brief(error)}, []
    rate = round(row.size[0] / took, 1)
    gpu_ms = round(sum(time.us for time in times) / 1e3, 3)
    figures = {"ms": round(1e3 * took, 3), "pictures_per_s": rate, "gpu_ms": gpu_ms, "error": ""}
    return figures, times
