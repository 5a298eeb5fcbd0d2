"""PyTorch's runner, on every device that PyTorch has here.

Needs nothing of conftest.py, so that it also runs where a GPU is and little else
(``python -m bench.gpu``).
"""

import functools
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cyclegan.colour import BT601, BT709, FULL, LIMITED, Colour
from cyclegan.compiling import worth_compiling
from cyclegan.config import ResnetConfig
from cyclegan.engine.frame_graph import FrameToFrame
from cyclegan.engine.frames import Frames
from cyclegan.engine.model_source import GeneratorSource
from cyclegan.engine.plane_network import PlanesToPlanes
from cyclegan.engine.planes import Planes
from cyclegan.engine.runners.settings import Settings
from cyclegan.engine.runners.torch import TorchRunner, why_no_compiler
from cyclegan.engine.tickets import PlaneRunner, Scheduler
from cyclegan.engine.tracing import tracing
from cyclegan.errors import BackendError
from cyclegan.networks import Generator, initialise, network_from_config

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
COLOUR = Colour(matrix=BT709, range=LIMITED, primaries=BT709, transfer=BT709)
ROUNDS = 6
"""More batches than there are slots."""


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    generator = network_from_config(ResnetConfig(width=8, blocks=2))
    initialise(generator, gain=0.1)
    return generator.eval()


@pytest.fixture(params=DEVICES)
def runner(generator: Generator, request: pytest.FixtureRequest) -> Iterator[TorchRunner]:
    settings = Settings(precision="float32", device=request.param)
    runner = TorchRunner(GeneratorSource(generator), settings, compiled=False)
    yield runner
    runner.close()


def batch(seed: int, size: tuple[int, int] = (64, 96)) -> Frames:
    """One smooth picture, uint8 (1, H, W, 3)."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.integers(0, 256, (1, 3, 6, 6)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")
    frames: Frames = smooth.permute(0, 2, 3, 1).round().to(torch.uint8).contiguous().numpy()
    return frames


def planes(seed: int, bits: int = 8, size: tuple[int, int] = (64, 96)) -> Planes:
    """The same numbers, as if they were planes."""
    numbers = torch.from_numpy(batch(seed, size)[0])
    y, uv = numbers[..., 0].clone(), numbers[::2, ::2, 1:].contiguous()
    if bits == 10:
        y, uv = (plane.to(torch.int32).mul(256).to(torch.uint16) for plane in (y, uv))
    return Planes(y=y, uv=uv, colour=COLOUR)


def near(got: torch.Tensor, expected: torch.Tensor, unit: int = 1) -> bool:
    """Whether all but a few numbers are equal to one code; devices round at their own edges."""
    off = (got.to(torch.int32) - expected.to(torch.int32)).abs()
    return int(off.max()) <= 4 * unit and float((off > unit).float().mean()) < 0.01


def test_frames_in_flight_come_back_in_order(runner: TorchRunner, generator: Generator) -> None:
    scheduler = Scheduler(runner)
    shared = batch(0)
    tickets, wanted = [], []
    network = FrameToFrame(generator)
    for seed in range(ROUNDS):
        shared[...] = batch(seed)  # the one before may be overwritten once it was submitted
        tickets.append(scheduler.submit(shared))
        with torch.inference_mode():
            wanted.append(network(torch.from_numpy(batch(seed))))
    made = [scheduler.collect(ticket) for ticket in tickets]
    for got, expected in zip(made, wanted):
        assert near(torch.from_numpy(got), expected)
    assert not np.array_equal(made[0], made[1])


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("size", [(64, 96), (66, 98)])
def test_planes_in_flight_come_back_in_order(
    runner: TorchRunner, generator: Generator, bits: int, size: tuple[int, int]
) -> None:
    scheduler = Scheduler(runner)
    tickets = [scheduler.submit_planes([planes(seed, bits, size)]) for seed in range(ROUNDS)]
    network = PlanesToPlanes(generator, torch.float32, 4)
    for seed, ticket in enumerate(tickets):
        (made,) = scheduler.collect(ticket)
        given = planes(seed, bits, size)
        with torch.inference_mode():
            y, uv = network(given.y[None], given.uv[None], **given.coding)
        unit = 64 if bits == 10 else 1
        assert made.y.device.type == made.uv.device.type == "cpu"
        assert made.colour == COLOUR
        assert near(made.y, y[0], unit)
        assert near(made.uv, uv[0], unit)


def test_a_batch_of_planes_is_that_of_its_pictures(runner: TorchRunner) -> None:
    given = [planes(seed) for seed in range(3)]
    scheduler = Scheduler(runner)
    together = scheduler.collect(scheduler.submit_planes(given))
    for one, picture in zip(together, given):
        (alone,) = scheduler.collect(scheduler.submit_planes([picture]))
        assert near(one.y, alone.y)
        assert near(one.uv, alone.uv)


def test_planes_that_are_on_the_device_already_are_taken(runner: TorchRunner) -> None:
    given = planes(1)
    there = replace(given, y=given.y.to(runner.planes_on), uv=given.uv.to(runner.planes_on))
    scheduler = Scheduler(runner)
    (here,), (back,) = (
        scheduler.collect(scheduler.submit_planes([each])) for each in (given, there)
    )
    assert torch.equal(here.y, back.y)
    assert torch.equal(here.uv, back.uv)


def test_frames_that_may_not_be_written_are_taken(runner: TorchRunner) -> None:
    frames = batch(0)
    expected = runner_result(runner, frames.copy())
    frames.flags.writeable = False
    np.testing.assert_array_equal(runner_result(runner, frames), expected)
    turned = np.asarray(frames)[:, ::-1]
    assert not turned.flags.c_contiguous
    np.testing.assert_array_equal(
        runner_result(runner, turned), runner_result(runner, turned.copy())
    )


def runner_result(runner: TorchRunner, frames: Frames) -> Frames:
    runner.begin(0, frames)
    return runner.finish(0)


def test_results_stay_as_they_are(runner: TorchRunner) -> None:
    scheduler = Scheduler(runner)
    first = scheduler.collect(scheduler.submit(batch(0)))
    kept = first.copy()
    for seed in range(1, ROUNDS):
        scheduler.collect(scheduler.submit(batch(seed)))
    np.testing.assert_array_equal(first, kept)


def test_only_colour_becomes_planes(generator: Generator) -> None:
    grey = network_from_config(ResnetConfig(width=4, blocks=1, in_channels=1, out_channels=1))
    runner = TorchRunner(GeneratorSource(grey), Settings(device="cpu"), compiled=False)
    assert isinstance(runner, PlaneRunner)
    assert runner.planes_on is None
    runner.close()


def test_each_coding_of_planes_is_replayed_by_itself(runner: TorchRunner) -> None:
    """On a GPU a recording holds the matrix and range that it was made with."""
    lane, seen = runner._lanes[0], set()

    def replayed(what: Hashable, run: Callable[..., Any], *inputs: torch.Tensor) -> Any:
        seen.add(what)
        return run(*inputs)

    lane.replayed = replayed  # type: ignore[assignment]
    runner.begin(0, batch(0))
    runner.finish(0)
    given = planes(0)
    for matrix in (BT601, BT709):
        for span in (LIMITED, FULL):
            colour = replace(COLOUR, matrix=matrix, range=span)
            runner.begin_planes(0, [replace(given, colour=colour)])
            runner.finish_planes(0)
    assert len(seen) == 5


@pytest.fixture
def compiled(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> Iterator[TorchRunner]:
    """On the CPU, without Inductor, which takes long."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    runner = TorchRunner(GeneratorSource(generator), Settings(device="cpu"), compiled=True)
    runner._frames = torch.compile(lambda x: x.clone(), dynamic=False)
    yield runner
    runner.close()


def test_a_compiled_runner_and_an_export_wait_for_each_other(compiled: TorchRunner) -> None:
    """PyTorch's exporter breaks compiled modules that another thread calls."""
    with tracing.exporting():
        compiled.begin(0, batch(0))
        begun = compiled._begun[0]
        assert begun is not None
        time.sleep(0.1)
        assert not begun.done()
    np.testing.assert_array_equal(compiled.finish(0), batch(0))

    calling, order = threading.Event(), []

    def slow(x: torch.Tensor) -> torch.Tensor:
        calling.set()
        time.sleep(0.1)
        order.append("call")
        return x

    compiled._frames = slow
    compiled.begin(0, batch(0))
    assert calling.wait(10)
    with tracing.exporting():
        order.append("export")
    compiled.finish(0)
    assert order == ["call", "export"]


def test_whatever_the_compiler_raises_is_told_as_a_failure(compiled: TorchRunner) -> None:
    def broken(x: torch.Tensor) -> torch.Tensor:
        raise KeyError("custom")

    compiled._frames = broken
    compiled.begin(0, batch(0))
    with pytest.raises(BackendError, match="failed on a batch: KeyError: 'custom'"):
        compiled.finish(0)


def test_each_of_many_shapes_is_compiled_for(compiled: TorchRunner) -> None:
    """Of more than PyTorch's own limit, after which it would run eagerly."""
    shapes, seen = 12, []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        seen.append(inputs[0].shape)
        return graph

    compiled._frames = torch.compile(lambda x: x.clone(), dynamic=False, backend=backend)
    for side in range(1, shapes + 1):
        runner_result(compiled, batch(0, (8, 8 * side)))
    assert len(seen) == shapes


@pytest.mark.skipif(sys.platform != "linux" or DEVICES != ["cpu"], reason="Triton compiles there")
@pytest.mark.parametrize(
    ("there", "given", "lacks"),
    [
        ("g++", None, None),
        ("clang++", None, "g++"),
        ("clang++", "clang++", None),
        ("g++", "clang++", "clang++"),
    ],
)
def test_only_the_compiler_that_pytorch_runs_counts(
    there: str,
    given: str | None,
    lacks: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / there).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    if given is not None:
        monkeypatch.setenv("CXX", given)
    usual = {"device": "cpu", "steps": 100_000, "minutes": None, "one_size": True, "native": False}
    assert worth_compiling("auto", **usual) == (lacks is None)
    reason = lacks and f"torch.compile needs {lacks!r}, which is not there; install g++, or set CXX"
    assert why_no_compiler() == reason
