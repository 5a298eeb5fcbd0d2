"""TensorRT plans of the 9-block generator at 256x256: built, loaded, checked, timed.

    python -m bench.tensorrt                                  building, which needs no GPU
    python -m bench.tensorrt --blocks 2 --width 8 --turns 1   a quick look

On a machine without a GPU: seconds of a build with tensorrt-rtx (aim: 5), of a cached open (1), and
milliseconds until a plan's note is read (50). ``make gpu`` calls :func:`measure`, which also loads
and runs plans with whatever TensorRT is there, through the runner itself. What it refuses is a row
with its exact words; what was not run is a row that says why.
"""

import dataclasses
import importlib.util
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from bench.generators import SPREAD, new_generator
from bench.harness import figures, in_turns, record, table
from bench.options import count_argument, parser_for
from bench.report import Report
from cyclegan.engine.cuda import Cuda, PyCuda
from cyclegan.engine.cuda import why_missing as why_no_pycuda
from cyclegan.engine.export import onnx_from_generator
from cyclegan.engine.flavours import MODULES, TensorRT, load_tensorrt
from cyclegan.engine.frames import Frames
from cyclegan.engine.graph_info import read_graph_info
from cyclegan.engine.parity import compare
from cyclegan.engine.plan import plan_from_onnx
from cyclegan.engine.plan_builder import build_plan
from cyclegan.engine.plan_file import read_plan
from cyclegan.engine.plan_settings import LEAST_PSNR_DB, PlanSettings, Profile
from cyclegan.engine.runners.tensorrt import TensorRTRunner, deserialised
from cyclegan.engine.throughput import sample_frames, stream
from cyclegan.engine.translator import Translator
from cyclegan.engine.typed_graph import NormRoute, typed_graph
from cyclegan.errors import CycleGANError

BATCHES = (1, 8)
NORMS: tuple[NormRoute, ...] = ("native", "float32")
FRAMES = 64
FIGURES = ("build_s", "psnr_db", "host_ms", "frames_per_s", "device_ms", "device_frames_per_s")


def build_figures(
    onnx: Path, *, size: int, target: str, turns: int, folder: Path
) -> dict[str, Any]:
    """Seconds of a build, of a cached open, and of reading the note, in turns."""
    settings = PlanSettings(profile=Profile.of(size, size), targets=(target,), check=False)
    tensorrt, info = load_tensorrt(settings.flavour), read_graph_info(onnx)
    typed = typed_graph(onnx, "float16", "native").SerializeToString()
    channels = info.config.in_channels
    plan = plan_from_onnx(onnx, folder / "bench.plan", settings=settings)
    candidates: dict[str, Callable[[], object]] = {
        "build": lambda: build_plan(tensorrt, typed, settings, "native", channels=channels),
        "cached open": lambda: plan_from_onnx(onnx, settings=settings).verified(),
        "note": lambda: read_plan(plan.path),
    }
    timings = in_turns(candidates, turns=turns, items=1)
    table(f"{tensorrt.flavour} {tensorrt.version}, float16, for {target}", timings, "per s")
    return {
        "benchmark": "tensorrt",
        "settings": {"size": size, "target": target, "flavour": tensorrt.flavour},
        "version": tensorrt.version,
        "bytes": len(plan.verified()),
        "build_s": timings["build"].median,
        "cached_open_s": timings["cached open"].median,
        "note_ms": 1000 * timings["note"].median,
        "timings": figures(timings),
    }


def measure(report: Report, *, width: int = 64, blocks: int = 9, size: int = 256) -> None:
    """Rows of the tables ``tensorrt`` and ``tensorrt_checks``; never raises for what is missing."""
    modules = ("onnx", "onnxscript")
    if lacking := [name for name in modules if importlib.util.find_spec(name) is None]:
        add(report, "all", f"not run: {', '.join(lacking)} missing")
        return
    found = []
    for flavour in MODULES:
        try:
            found.append(load_tensorrt(flavour))
        except CycleGANError as error:
            add(report, flavour, f"not run: {error}")
    if not found:
        return  # the graphs and what is expected of them cost half a minute
    frame = sample_frames(1, size, size)[0]
    with TemporaryDirectory() as folder:
        made, other = (
            exported(width, blocks, seed, frame, Path(folder) / f"{seed}.onnx") for seed in (0, 1)
        )
        for tensorrt in found:
            for attempt in attempts(tensorrt):
                _attempt(report, tensorrt, attempt, frame, made, other)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exported:
    """A generator's graph, and what it makes of the frame in float32."""

    onnx: Path
    expected: Frames


def exported(width: int, blocks: int, seed: int, frame: Frames, path: Path) -> Exported:
    """A generator with the weights of ``seed``, written to ``path``."""
    generator = new_generator(width, blocks, gain=SPREAD, seed=seed)
    with Translator.open(generator, backend="torch", precision="float32", device="cpu") as exact:
        return Exported(onnx=onnx_from_generator(generator, path), expected=exact(frame))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attempt:
    """One plan to be built, loaded and run."""

    target: str | None
    """None leaves the choice to TensorRT."""
    norm: NormRoute
    batch: int
    refit: bool = False
    """Whether other weights are put in at the end."""

    def __str__(self) -> str:
        refit = ", refittable" * self.refit
        target = self.target or "what TensorRT takes"
        return f"for {target}, norms {self.norm}, batch {self.batch}{refit}"


def attempts(tensorrt: TensorRT) -> Iterator[Attempt]:
    """The GPU's own capability, the oldest Ampere's and none for RTX; this GPU for the full one."""
    own = ".".join(map(str, torch.cuda.get_device_capability(0)))
    targets = list(dict.fromkeys((own, "8.0", None))) if tensorrt.is_rtx else [None]
    for target in targets:
        for norm in NORMS:
            for batch in BATCHES:
                yield Attempt(target=target, norm=norm, batch=batch)
        yield Attempt(target=target, norm=NORMS[0], batch=BATCHES[0], refit=True)


def _attempt(
    report: Report,
    tensorrt: TensorRT,
    attempt: Attempt,
    frame: Frames,
    made: Exported,
    other: Exported,
) -> None:
    """One row: figures, or the exact words of the refusal."""
    name = f"{tensorrt.flavour} {tensorrt.version} {attempt}"
    try:
        figures = run(report, tensorrt, attempt, frame, made, other)
        add(report, name, said_of(figures["psnr_db"]), **figures)
    except Exception as error:  # a refusal is a result; the other rows must not be lost with it
        add(report, name, f"refused: {type(error).__name__}: {error}")


def said_of(psnr_db: float) -> str:
    """Of a plan that ran: with pictures that no plan may have, its figures meet no aim."""
    if psnr_db >= LEAST_PSNR_DB:
        return "ran"
    return f"ran: only {psnr_db} dB to float32, a plan needs {LEAST_PSNR_DB:g}"


def add(report: Report, attempt: str, result: str, **figures: Any) -> None:
    """One row of the table ``tensorrt``; figures that there are none of stay empty."""
    row = dict.fromkeys(FIGURES) | figures
    report.add("tensorrt", attempt=attempt, **row, result=result)


def run(
    report: Report,
    tensorrt: TensorRT,
    attempt: Attempt,
    frame: Frames,
    made: Exported,
    other: Exported,
) -> dict[str, Any]:
    """Build, load, check and time one plan; then put the weights of ``other`` in, where asked."""
    from bench.tensorrt_checks import check, check_all, refitted

    height, width, channels = frame.shape
    targets = () if attempt.target is None else (attempt.target,)
    profile = Profile.of(height, width, batch=attempt.batch)
    settings = PlanSettings(profile=profile, targets=targets, refit=attempt.refit)
    typed = typed_graph(made.onnx, "float16", attempt.norm).SerializeToString()
    started = time.perf_counter()
    built = build_plan(tensorrt, typed, settings, attempt.norm, channels=channels)
    took = round(time.perf_counter() - started, 2)
    cuda = open_gpu()
    try:
        engine = deserialised(tensorrt, built.plan, cuda)
        info = dataclasses.replace(read_graph_info(made.onnx), precision="float16")
        runner = TensorRTRunner(tensorrt, cuda, engine, info, profile)
    except BaseException:
        cuda.close()
        raise
    with Translator(runner, info, "tensorrt") as translator:
        score = compare(translator(frame), made.expected)
        name = f"{tensorrt.flavour} {attempt}"
        check_all(report, name, translator, runner, frame)
        figures = {
            "build_s": took,
            "psnr_db": round(score.psnr_db, 1),
            **_host(translator, frame, attempt.batch),
            **_device(runner, frame, attempt.batch),
        }
        if attempt.refit:
            weights = typed_graph(other.onnx, "float16", attempt.norm).SerializeToString()
            check(
                report, name, "refit",
                lambda: refitted(translator, runner, frame, weights, other.expected),
            )  # fmt: skip
        return figures


def open_gpu() -> Cuda:
    """PyCUDA where it is, else PyTorch."""
    from bench.torch_cuda import TorchCuda

    return PyCuda(0) if why_no_pycuda() is None else TorchCuda()


def _host(translator: Translator, frame: Frames, batch: int) -> dict[str, float]:
    """From host memory to host memory: one batch alone, and with all slots in use."""
    frames = np.stack([frame] * batch)
    alone = _median(lambda: translator(frames))
    many = max(translator.slots + 1, FRAMES // batch)
    took = _median(lambda: stream(translator, [frames] * many), repeats=5)
    return {"host_ms": round(1e3 * alone, 3), "frames_per_s": round(many * batch / took, 1)}


def _device(runner: TensorRTRunner, frame: Frames, batch: int) -> dict[str, float]:
    """From device memory to device memory, without a copy; the time between two events."""
    frames = torch.from_numpy(np.stack([frame] * batch)).cuda()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    repeats = 50
    with torch.cuda.stream(side):
        for turn in range(10 + repeats):
            if turn == 10:
                start.record()
            runner.translate_on_device(frames, stream=side.cuda_stream)
        end.record()
    end.synchronize()  # the times are there once the end has passed
    took = start.elapsed_time(end) / repeats
    return {"device_ms": round(took, 3), "device_frames_per_s": round(1e3 * batch / took, 1)}


def _median(call: Callable[[], object], repeats: int = 30) -> float:
    for _ in range(3):
        call()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return sorted(times)[repeats // 2]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure building on this machine, print a table and record the result."""
    parser = parser_for(__doc__, turns=5)
    parser.add_argument(
        "--size", type=count_argument, default=256, help="side of the square frames"
    )
    parser.add_argument("--target", default="8.9", help="compute capability to build for")
    given = parser.parse_args(arguments)
    with TemporaryDirectory() as folder:
        generator = new_generator(given.width, given.blocks, gain=SPREAD)
        onnx = onnx_from_generator(generator, Path(folder) / "generator.onnx")
        result = build_figures(
            onnx, size=given.size, target=given.target, turns=given.turns, folder=Path(folder)
        )
    result["settings"] |= {"width": given.width, "blocks": given.blocks}
    record(result, given.output)
    return result


if __name__ == "__main__":
    main()
