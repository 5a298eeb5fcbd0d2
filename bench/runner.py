"""PyTorch's runner from the host and back: RGB frames, and planes, beside the network alone.

Part of ``bench/gpu.py``. What frames lose on their way to a GPU and back is what is left between
the network's rate, on frames that are there already, and the runner's with batches in flight.
"""

import functools
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.generators import new_generator
from bench.report import Report, brief
from bench.switches import without_kernels
from bench.time_limit import at_most
from cyclegan.colour import BT709, LIMITED, Colour
from cyclegan.engine.frame_graph import FrameToFrame
from cyclegan.engine.frames import Frames
from cyclegan.engine.model_source import GeneratorSource
from cyclegan.engine.plane_network import PlanesToPlanes
from cyclegan.engine.planes import Planes
from cyclegan.engine.runners.lanes import Lane
from cyclegan.engine.runners.placing import without_tf32
from cyclegan.engine.runners.settings import Settings
from cyclegan.engine.runners.torch import TorchRunner
from cyclegan.engine.tickets import Scheduler, Ticket
from cyclegan.networks import Generator, prepare_for_inference

SIZES = ((8, 256, 256), (1, 720, 1280))
"""(batch, height, width)."""
SECONDS = 1.0
"""Of a timing, about."""
ROW_SECONDS = 90
FORMS = ("network alone", "RGB frames", "NV12 planes")
LEAST_PSNR = 30.0
"""In dB, of the runner's frames to the network's, and of its planes to those of float32."""
_COLOUR = Colour(matrix=BT709, range=LIMITED, primaries=BT709, transfer=BT709)


@dataclass(frozen=True)
class Candidate:
    """Does so many batches."""

    run: Callable[[int], object]
    made: Frames
    """What it has made of the first one, frames or planes in one array."""
    expected: Frames


def measure(report: Report, deadline: float, device: str = "cuda") -> None:
    """A row for each size, way of computing and form of pictures; those that are there stay."""
    generator = new_generator(64, 9)
    for size in SIZES:
        for compiled in (False, True):
            if time.monotonic() > deadline:
                report.facts["runner"] = "stopped at the time limit"
                report.write()
                return
            row = {"size": "x".join(map(str, size)), "compiled": compiled}
            if all(report.has("runner", **row, form=form) for form in FORMS):
                continue
            try:
                with at_most(min(ROW_SECONDS, deadline - time.monotonic())):
                    _measure_one(report, row, generator, size, compiled, device)
            except Exception as error:  # the other rows must not be lost with this one
                _add(report, row, "", None, None, brief(error))


def _measure_one(
    report: Report,
    row: dict[str, Any],
    generator: Generator,
    size: tuple[int, int, int],
    compiled: bool,
    device: str,
) -> None:
    runner = opened(generator, compiled, device)
    try:
        alone = 0.0
        network = _network(generator, runner, size, compiled, device)
        frames = _frames(runner, size, network.made)
        planes = _planes(generator, runner, size, device)
        for form, candidate in zip(FORMS, (network, frames, planes)):
            lacking = not report.has("runner", **row, form=form)
            if not lacking and candidate is not network:
                continue  # the network is timed in any case, for the share of what is lacking
            rate = size[0] * _rate(candidate.run)
            alone = alone or rate
            if lacking:
                error = _unlike(candidate.made, candidate.expected)
                _add(report, row, form, rate, rate / alone, error)
    finally:
        runner.close()


def opened(generator: Generator, compiled: bool, device: str) -> TorchRunner:
    """In what "auto" takes on a GPU, which it finds by a picture that Pillow reads."""
    settings = Settings(device=device, precision="float16")
    return TorchRunner(GeneratorSource(generator), settings, compiled=compiled)


def _add(
    report: Report,
    row: dict[str, Any],
    form: str,
    rate: float | None,
    share: float | None,
    error: str,
) -> None:
    report.add(
        "runner",
        **row,
        form=form,
        frames_per_s=rate and round(rate, 1),
        of_network=share and round(share, 3),
        error=error,
    )


def _rate(run: Callable[[int], object]) -> float:
    """Batches a second."""
    run(3)
    start = time.perf_counter()
    run(3)
    count = max(3, round(3 * SECONDS / (time.perf_counter() - start)))
    start = time.perf_counter()
    run(count)
    return count / (time.perf_counter() - start)


def _given(size: tuple[int, int, int]) -> Frames:
    """Smooth pictures, uint8 (N, H, W, 3)."""
    number, height, width = size
    coarse = torch.rand(number, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 255
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    frames: Frames = smooth.permute(0, 2, 3, 1).to(torch.uint8).contiguous().numpy()
    return frames


def _network(
    generator: Generator,
    runner: TorchRunner,
    size: tuple[int, int, int],
    compiled: bool,
    device: str,
) -> Candidate:
    """On frames that are on the device and stay there, in a lane as the runner's: launched as
    CUDA graphs where its batches are.
    """
    network: Any = FrameToFrame(
        GeneratorSource(generator).generator().to(runner.dtype), runner.dtype
    )
    network = network.to(device=device, memory_format=torch.channels_last)
    prepare_for_inference(network.generator)
    run_it = torch.compile(network, dynamic=False) if compiled else network
    frames = torch.from_numpy(_given(size)).to(device)  # waits for the weights, too
    lane = Lane(torch.device(device))

    def run(count: int) -> Frames:
        with lane.work():
            for _ in range(count):
                (made,) = lane.replayed("frames", lambda x: (run_it(x),), frames)
            pictures: Frames = made.cpu().numpy()  # waits for all of them
        return pictures

    made = run(1)
    return Candidate(run, made, made)


def _frames(runner: TorchRunner, size: tuple[int, int, int], expected: Frames) -> Candidate:
    scheduler, frames = Scheduler(runner), _given(size)
    first = scheduler.collect(scheduler.submit(frames))
    run = functools.partial(_in_flight, scheduler, scheduler.submit, frames)
    return Candidate(run, first, expected)


def _planes(
    generator: Generator, runner: TorchRunner, size: tuple[int, int, int], device: str
) -> Candidate:
    scheduler, frames = Scheduler(runner), torch.from_numpy(_given(size))
    pin = torch.Tensor.pin_memory if str(runner.planes_on) != "cpu" else torch.Tensor.clone
    pictures: Sequence[Planes] = [
        Planes(y=pin(f[..., 0].contiguous()), uv=pin(f[::2, ::2, 1:].contiguous()), colour=_COLOUR)
        for f in frames
    ]
    run = functools.partial(_in_flight, scheduler, scheduler.submit_planes, pictures)
    made = scheduler.collect(scheduler.submit_planes(pictures))
    first = _together(torch.stack([p.y for p in made]), torch.stack([p.uv for p in made]))
    return Candidate(run, first, _exact_planes(generator, pictures, device))


def _exact_planes(generator: Generator, pictures: Sequence[Planes], device: str) -> Frames:
    """In float32, and by PyTorch's own operators."""
    exact = GeneratorSource(generator).generator().to(device)
    network = PlanesToPlanes(exact, torch.float32, generator.config.size_multiple)
    y, uv = (torch.stack(planes).to(device) for planes in zip(*((p.y, p.uv) for p in pictures)))
    with without_kernels(), without_tf32(), torch.inference_mode():
        return _together(*network(y, uv, **pictures[0].coding))


def _together(y: Tensor, uv: Tensor) -> Frames:
    """Planes in one array."""
    numbers: Frames = torch.cat([y.flatten(), uv.flatten()]).cpu().numpy()
    return numbers


def _in_flight(
    scheduler: Scheduler, submit: Callable[[Any], Ticket], given: Any, count: int
) -> None:
    """``count`` batches, as many at once as there is room for."""
    tickets: deque[Ticket] = deque()
    for _ in range(count):
        tickets.append(submit(given))
        if len(tickets) > 2:
            scheduler.collect(tickets.popleft())
    for ticket in tickets:
        scheduler.collect(ticket)


def _unlike(made: Frames, expected: Frames) -> str:
    """What is wrong with these frames or planes."""
    error = float(np.mean((made.astype(np.float64) - expected) ** 2))
    psnr = 10 * np.log10(255**2 / error) if error else np.inf
    return "" if psnr >= LEAST_PSNR else f"only {psnr:.1f} dB to the network's"
