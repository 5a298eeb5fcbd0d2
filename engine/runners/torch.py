"""Inference with PyTorch itself, eager or compiled: on CUDA where there is one, else on the CPU.

One worker thread does the computing, or hands it to the GPU, so that ``begin`` returns at once as
it does for the others. On CUDA each slot has a stream of its own (:mod:`lanes`), and what comes
again is replayed (:mod:`replays`).
"""

import functools
import importlib.util
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from cyclegan.cpu import has_fast_bfloat16
from cyclegan.engine.runners.settings import Settings
from cyclegan.engine.source import Source
from cyclegan.engine.tickets import Frames
from cyclegan.errors import BackendError

if TYPE_CHECKING:
    from torch import Tensor

    from cyclegan.engine.planes import Planes


def missing() -> str | None:
    """Why this backend cannot be used here, or None."""
    return None if importlib.util.find_spec("torch") else "PyTorch is not installed"


def compiler_missing() -> str | None:
    """Why torch.compile cannot be used here, or None."""
    if reason := missing():
        return reason
    import torch

    if torch.cuda.is_available():
        return None if importlib.util.find_spec("triton") else "Triton is not installed"
    if not any(map(shutil.which, ("g++", "clang++", "cl"))):
        return "torch.compile needs a C++ compiler; install g++ or clang"
    return None


def open_runner(source: Source, settings: Settings) -> "TorchRunner":
    """A runner that executes the generator eagerly."""
    return TorchRunner(source, settings, compiled=False)


def open_compiled_runner(source: Source, settings: Settings) -> "TorchRunner":
    """A runner under torch.compile: it compiles at the first frames of each new shape."""
    return TorchRunner(source, settings, compiled=True)


@dataclass(frozen=True)
class _Batch:
    """What one slot is at work on."""

    made: "tuple[Tensor, ...]"
    """On the host; there once ``wait`` has returned."""
    wait: Callable[[], None]
    given: object
    """Kept until the device has read it."""


class TorchRunner:
    """The generator on one device, channels last, between RGB frames or between planes."""

    slots = 2

    def __init__(self, source: Source, settings: Settings, *, compiled: bool) -> None:
        import torch

        from cyclegan.engine.frame_graph import FrameToFrame
        from cyclegan.engine.plane_network import PlanesToPlanes
        from cyclegan.engine.runners.lanes import Lane

        try:
            device = torch.device(settings.device or _default_device())
            dtype = _dtype(device, settings)
            generator = source.generator().to(dtype).eval()
            generator = generator.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            if device.type == "cuda":
                torch.cuda.synchronize(device)  # the weights are there before any stream reads them
            self._lanes = [Lane(device) for _ in range(self.slots)]
        except (RuntimeError, AssertionError) as error:
            raise BackendError(f"PyTorch cannot load {source.name}: {error}") from error
        config = source.info.config
        networks = (
            FrameToFrame(generator, dtype),
            PlanesToPlanes(generator, dtype, config.size_multiple),
        )
        self._frames: Any
        self._planes: Any
        self._frames, self._planes = (
            torch.compile(network, dynamic=False) if compiled else network for network in networks
        )
        is_colour = config.in_channels == config.out_channels == 3
        self.dtype = dtype
        self.planes_on = str(device) if is_colour else None
        self.max_batch = 8 if device.type == "cuda" else 1
        self.description = f"PyTorch{' compiled' if compiled else ''}, {device}, {dtype}"
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="translate")
        self._batches: list[Future[_Batch] | None] = [None] * self.slots

    def begin(self, slot: int, frames: Frames) -> None:
        held = self._lanes[slot].held(frames)
        self._batches[slot] = self._worker.submit(self._translate, slot, held)

    def finish(self, slot: int) -> Frames:
        (made,) = self._finished(slot).made
        frames: Frames = made.numpy()
        return frames

    def begin_planes(self, slot: int, pictures: "Sequence[Planes]") -> None:
        self._batches[slot] = self._worker.submit(self._translate_planes, slot, pictures)

    def finish_planes(self, slot: int) -> "list[Planes]":
        batch = self._finished(slot)
        pictures = cast("Sequence[Planes]", batch.given)
        return [replace(given, y=y, uv=uv) for given, y, uv in zip(pictures, *batch.made)]

    def close(self) -> None:
        self._worker.shutdown()
        self._frames = self._planes = None
        self._lanes = []

    def _finished(self, slot: int) -> _Batch:
        future, self._batches[slot] = self._batches[slot], None
        assert future is not None, "finish without begin"
        try:
            batch = future.result()
            batch.wait()  # the one place where the host waits for the device
        except RuntimeError as error:
            raise BackendError(f"PyTorch failed on a batch: {error}") from error
        return batch

    def _translate(self, slot: int, frames: "Tensor") -> _Batch:
        lane = self._lanes[slot]
        with lane.work():
            made = lane.replayed("frames", lambda x: (self._frames(x),), lane.there(frames))
            back = tuple(map(lane.back, made))
        return _Batch(back, lane.done(), frames)

    def _translate_planes(self, slot: int, pictures: "Sequence[Planes]") -> _Batch:
        import torch

        lane = self._lanes[slot]
        with lane.work():
            y = torch.stack([lane.there(planes.y) for planes in pictures])
            uv = torch.stack([lane.there(planes.uv) for planes in pictures])
            coding = pictures[0].coding
            run = functools.partial(self._planes, **coding)
            made = lane.replayed(tuple(coding.values()), run, y, uv)
            back = tuple(map(lane.back, made))
        return _Batch(back, lane.done(), pictures)


def module_device_dtype(name: str, settings: Settings) -> tuple[Any, Any]:
    """The torch device and dtype that ``settings`` mean. Raises BackendError."""
    import torch

    try:
        device = torch.device(settings.device or _default_device())
    except RuntimeError as error:
        raise BackendError(f"PyTorch cannot load {name}: {error}") from error
    return device, _dtype(device, settings)


def _default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _dtype(device: Any, settings: Settings) -> Any:
    import torch

    precision = settings.precision
    if precision == "auto":
        fast = settings.depth == 8 and (device.type == "cuda" or has_fast_bfloat16())
        precision = "bfloat16" if fast else "float32"
    by_name = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    return by_name[precision]
