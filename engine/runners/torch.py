"""Inference with PyTorch itself, eager or compiled: on CUDA where there is one, else on the CPU.

One worker thread does the computing, so that ``begin`` returns at once as it does for the others.
"""

import importlib.util
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from cyclegan.cpu import has_fast_bfloat16
from cyclegan.engine.runners.settings import Settings
from cyclegan.engine.source import Source
from cyclegan.engine.tickets import Frames
from cyclegan.errors import BackendError


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


class TorchRunner:
    """The frame-to-frame module on one device, channels last."""

    slots = 2

    def __init__(self, source: Source, settings: Settings, *, compiled: bool) -> None:
        import torch

        from cyclegan.engine.frame_graph import FrameToFrame

        self._torch = torch
        try:
            self._device = torch.device(settings.device or _default_device())
            dtype = _dtype(self._device, settings)
            network = FrameToFrame(source.generator().to(dtype), dtype).eval()
            network = network.to(device=self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        except (RuntimeError, AssertionError) as error:
            raise BackendError(f"PyTorch cannot load {source.name}: {error}") from error
        self._run: Any = torch.compile(network, dynamic=False) if compiled else network
        self.max_batch = 8 if self._device.type == "cuda" else 1
        self.description = f"PyTorch{' compiled' if compiled else ''}, {self._device}, {dtype}"
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="translate")
        self._results: list[Future[Frames] | None] = [None] * self.slots

    def begin(self, slot: int, frames: Frames) -> None:
        self._results[slot] = self._worker.submit(self._translate, frames.copy())

    def finish(self, slot: int) -> Frames:
        future = self._results[slot]
        assert future is not None, "finish without begin"
        try:
            return future.result()
        except RuntimeError as error:
            raise BackendError(f"PyTorch failed on a batch: {error}") from error

    def close(self) -> None:
        self._worker.shutdown()
        self._run = None

    def _translate(self, frames: Frames) -> Frames:
        with self._torch.inference_mode():
            batch = self._torch.from_numpy(frames).to(self._device)
            # The copy back is where this thread waits for the device.
            translated: Frames = self._run(batch).cpu().contiguous().numpy()
            return translated


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
