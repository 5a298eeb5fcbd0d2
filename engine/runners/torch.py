"""Inference with PyTorch itself, eager or compiled: on CUDA where there is one, else on the CPU.

One worker thread does the computing, or hands it to the GPU, so that ``begin`` returns at once as
it does for the others. On CUDA each slot has a stream of its own (:mod:`lanes`), and what comes
again is replayed (:mod:`replays`).
"""

import contextlib
import functools
import importlib.util
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from cyclegan.engine.frames import Frames
from cyclegan.engine.model_source import Source
from cyclegan.engine.runners.placing import full_float32, placed
from cyclegan.engine.runners.settings import Settings
from cyclegan.engine.runners.worker import Worker
from cyclegan.engine.tracing import tracing
from cyclegan.errors import UNIMPORTABLE, BackendError

if TYPE_CHECKING:
    from cyclegan.engine.planes import Planes
    from cyclegan.engine.runners.lanes import Begun

Made = TypeVar("Made")
"""What comes of a batch."""
SHAPES = 64
"""Of frames that a process compiles for at most; PyTorch's own limit is 8."""


def why_missing() -> str | None:
    """Why this backend cannot be used here, or None."""
    return None if importlib.util.find_spec("torch") else "PyTorch is not installed"


def why_no_compiler() -> str | None:
    """Why torch.compile cannot be used here, or None."""
    if reason := why_missing():
        return reason
    try:
        import torch
    except UNIMPORTABLE as error:
        return f"PyTorch cannot be imported: {error}"
    if torch.cuda.is_available():
        return None if importlib.util.find_spec("triton") else "Triton is not installed"
    from cyclegan.compiling import cpp_compiler

    if shutil.which(wanted := cpp_compiler()) is None:
        return f"torch.compile needs {wanted!r}, which is not there; install g++, or set CXX"
    return None


def open_runner(source: Source, settings: Settings) -> "TorchRunner":
    """A runner that executes the generator eagerly."""
    return TorchRunner(source, settings, compiled=False)


def open_compiled_runner(source: Source, settings: Settings) -> "TorchRunner":
    """A runner under torch.compile: it compiles at the first frames of each new shape.

    After ``SHAPES`` of them, those of all such runners of the process together, the rest runs
    eagerly, as PyTorch then warns.
    """
    return TorchRunner(source, settings, compiled=True)


class TorchRunner:
    """The generator on one device, channels last, between RGB frames or between planes."""

    slots = 2

    def __init__(self, source: Source, settings: Settings, *, compiled: bool) -> None:
        import torch

        from cyclegan.engine.frame_graph import FrameToFrame
        from cyclegan.engine.plane_network import PlanesToPlanes
        from cyclegan.engine.runners.lanes import Lane
        from cyclegan.networks import prepare_for_inference

        generator, device, dtype = placed(source, settings)
        generator = generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        prepare_for_inference(generator)
        if device.type == "cuda":
            # The weights are there before any stream reads them. Not the whole device: another
            # runner may be recording a graph on it.
            torch.cuda.current_stream(device).synchronize()
        self._lanes = [Lane(device) for _ in range(self.slots)]
        config = source.info.config
        frames = FrameToFrame(generator, dtype)
        planes = PlanesToPlanes(generator, dtype, config.size_multiple)
        self._frames: Any = torch.compile(frames, dynamic=False) if compiled else frames
        self._planes: Any = torch.compile(planes, dynamic=False) if compiled else planes
        is_colour = config.in_channels == config.out_channels == 3
        self._calling = _compiling if compiled else contextlib.nullcontext
        self.dtype = dtype
        self.planes_on = str(device) if is_colour else None
        self.max_batch = 8 if device.type == "cuda" else 1
        self.description = f"PyTorch{' compiled' if compiled else ''}, {device}, {dtype}"
        self._worker = Worker()
        self._begun: list[Future[Begun] | None] = [None] * self.slots

    def begin(self, slot: int, frames: Frames) -> None:
        lane = self._lanes[slot]
        run = functools.partial(lane.replayed, "frames", lambda x: (self._run(self._frames, x),))
        self._begun[slot] = self._worker.submit(lane.begin_frames, lane.held(frames), run)

    def finish(self, slot: int) -> Frames:
        return self._finish(slot, lambda begun: begun.frames())

    def begin_planes(self, slot: int, pictures: "Sequence[Planes]") -> None:
        lane, coding = self._lanes[slot], pictures[0].coding
        network = functools.partial(self._run, self._planes, **coding)
        run = functools.partial(lane.replayed, tuple(coding.values()), network)
        self._begun[slot] = self._worker.submit(lane.begin_planes, pictures, run)

    def finish_planes(self, slot: int) -> "list[Planes]":
        return self._finish(slot, lambda begun: begun.planes())

    def close(self) -> None:
        self._worker.shutdown()
        self._frames = self._planes = None
        self._lanes = []

    def _run(self, network: Any, *inputs: Any, **coding: Any) -> Any:
        with self._calling(), full_float32(self.dtype):
            return network(*inputs, **coding)

    def _finish(self, slot: int, take: "Callable[[Begun], Made]") -> "Made":
        future, self._begun[slot] = self._begun[slot], None
        assert future is not None, "finish without begin"
        try:
            return take(future.result())
        except Exception as error:  # the compiler raises whatever it comes upon
            reason = f"{type(error).__name__}: {error}"
            raise BackendError(f"PyTorch failed on a batch: {reason}") from error


@contextlib.contextmanager
def _compiling() -> Iterator[None]:
    """For a call of what is compiled, which may have to be compiled first."""
    from torch._dynamo import config

    with tracing.calling(), config.patch(recompile_limit=SHAPES):
        yield
