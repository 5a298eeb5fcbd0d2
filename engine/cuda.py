"""The little of CUDA that a runner needs, over PyCUDA and the driver's own library.

PyCUDA owns what has to be given back: the context, memory and streams. The work, copies and waits
and captures, goes to the driver itself, since PyCUDA knows no stream capture. The GPU's primary
context is retained, the one that other libraries of this process use too: a second context could
not share memory with them.
"""

import contextlib
import ctypes
import functools
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from cyclegan.engine.frames import Frames
from cyclegan.engine.gpus import Gpu
from cyclegan.errors import BackendError, ConfigError

INSTALL = "pip install 'cyclegan-engine[tensorrt]' (PyCUDA is built against the CUDA toolkit)"
FIRST = "cuda:0"
_THREAD_LOCAL = 1
"""Capture mode: other threads may go on calling CUDA meanwhile."""
_NON_BLOCKING = 1
"""Flag of a stream that does not wait for the default one."""
_NO_TIMING = 2
"""Flag of an event."""


class Cuda(Protocol):
    """One GPU. Handles of streams and buffers are integers, as TensorRT takes them."""

    gpu: Gpu
    number: int
    """Which of the GPUs it is."""

    def current(self) -> Any:
        """A context manager: within it this thread uses the GPU."""

    def stream(self) -> int:
        """A new stream that does not wait for the default one."""

    def allocate(self, size: int) -> int:
        """Device memory of ``size`` bytes. Raises BackendError when there is none left."""

    def pinned(self, size: int) -> Frames:
        """Page-locked host memory: uint8 (size,)."""

    def copy_in(self, target: int, source: Frames, stream: int) -> None:
        """Start to copy contiguous host memory to the device."""

    def copy_out(self, target: Frames, source: int, stream: int) -> None:
        """Start to copy device memory to contiguous host memory."""

    def copy_within(self, target: int, source: int, size: int, stream: int) -> None:
        """Start to copy ``size`` bytes from one place of the device's memory to another."""

    def synchronize(self, stream: int) -> None:
        """Wait until all that was given to ``stream`` has ended. Raises BackendError."""

    def wait_for(self, stream: int, other: int) -> None:
        """Let ``stream`` wait, on the device, for what ``other`` was given so far."""

    def capture(self, stream: int, work: Callable[[], None]) -> Callable[[int], None]:
        """Record what ``work`` gives to ``stream``; the result replays it in a stream."""

    def close(self) -> None:
        """Give all memory, streams and graphs back."""


def why_missing() -> str | None:
    """Why there is no CUDA here, or None. Looks for the driver, then for PyCUDA."""
    try:
        driver = _driver()
    except OSError:
        return "there is no NVIDIA driver (libcuda); install the driver of this machine's GPU"
    if code := driver.cuInit(0):
        return f"the NVIDIA driver does not start (cuInit gives {code}); is there a GPU?"
    if importlib.util.find_spec("pycuda") is None:
        return f"PyCUDA is not installed; {INSTALL}"
    return None


def open_cuda(device: str | None = None) -> "PyCuda":
    """The GPU ``cuda:N``, the first by default. Raises ConfigError, BackendError."""
    if reason := why_missing():
        raise BackendError(f"no CUDA: {reason}")
    name, _, number = (device or FIRST).partition(":")
    if name != "cuda" or not (number or "0").isdecimal():
        raise ConfigError(f"device {device!r}: expected cuda, or cuda:N with the GPU's number")
    return PyCuda(int(number or 0))


class DriverCuda:
    """Copies, waits and captures, by calls of the driver within the current context."""

    def copy_in(self, target: int, source: Frames, stream: int) -> None:
        address = ctypes.c_void_p(source.ctypes.data)
        call_driver(
            "cuMemcpyHtoDAsync_v2", _pointer(target), address, _size(source), _handle(stream)
        )

    def copy_out(self, target: Frames, source: int, stream: int) -> None:
        address = ctypes.c_void_p(target.ctypes.data)
        call_driver(
            "cuMemcpyDtoHAsync_v2", address, _pointer(source), _size(target), _handle(stream)
        )

    def copy_within(self, target: int, source: int, size: int, stream: int) -> None:
        places = _pointer(target), _pointer(source)
        call_driver("cuMemcpyDtoDAsync_v2", *places, ctypes.c_size_t(size), _handle(stream))

    def synchronize(self, stream: int) -> None:
        call_driver("cuStreamSynchronize", _handle(stream))

    def wait_for(self, stream: int, other: int) -> None:
        event = ctypes.c_void_p()
        call_driver("cuEventCreate", ctypes.byref(event), _NO_TIMING)
        try:
            call_driver("cuEventRecord", event, _handle(other))
            call_driver("cuStreamWaitEvent", _handle(stream), event, 0)
        finally:
            call_driver("cuEventDestroy_v2", event)  # the device keeps it until it has passed

    def capture(self, stream: int, work: Callable[[], None]) -> Callable[[int], None]:
        graph, runnable = ctypes.c_void_p(), ctypes.c_void_p()
        call_driver("cuStreamBeginCapture_v2", _handle(stream), _THREAD_LOCAL)
        try:
            work()
        except BaseException:
            with contextlib.suppress(BackendError):  # what went wrong in ``work`` says more
                call_driver("cuStreamEndCapture", _handle(stream), ctypes.byref(graph))
            raise
        call_driver("cuStreamEndCapture", _handle(stream), ctypes.byref(graph))
        try:
            flags = ctypes.c_ulonglong(0)
            call_driver("cuGraphInstantiateWithFlags", ctypes.byref(runnable), graph, flags)
        finally:
            call_driver("cuGraphDestroy", graph)
        return _Replay(runnable)


class _Replay:
    """A recorded graph, launched into a stream when called; it goes with its last reference."""

    def __init__(self, runnable: ctypes.c_void_p) -> None:
        self._runnable = runnable

    def __call__(self, stream: int) -> None:
        call_driver("cuGraphLaunch", self._runnable, _handle(stream))

    def __del__(self) -> None:
        with contextlib.suppress(BackendError, OSError):
            call_driver("cuGraphExecDestroy", self._runnable)


class PyCuda(DriverCuda):
    """:class:`Cuda` over PyCUDA."""

    def __init__(self, number: int) -> None:
        import pycuda.driver as driver

        self._driver, self.number = driver, number
        driver.init()
        if number >= driver.Device.count():
            raise ConfigError(f"device cuda:{number}: there are {driver.Device.count()} GPUs")
        device = driver.Device(number)
        self._context = device.retain_primary_context()
        version = driver.get_driver_version()
        self.gpu = Gpu(
            name=device.name(),
            memory_mib=device.total_memory() >> 20,
            driver=f"CUDA {version // 1000}.{version % 1000 // 10}",
            compute_capability=".".join(map(str, device.compute_capability())),
        )
        self._streams: list[Any] = []
        self._memory: list[Any] = []

    @contextmanager
    def current(self) -> Iterator[None]:
        self._context.push()
        try:
            yield
        finally:
            self._driver.Context.pop()

    def stream(self) -> int:
        with self.current():
            self._streams.append(self._driver.Stream(_NON_BLOCKING))
        return int(self._streams[-1].handle)

    def allocate(self, size: int) -> int:
        with self.current():
            try:
                self._memory.append(self._driver.mem_alloc(size))
            except self._driver.MemoryError as error:
                raise out_of_memory(size, *self._driver.mem_get_info()) from error
        return int(self._memory[-1])

    def pinned(self, size: int) -> Frames:
        with self.current():
            try:
                memory: Frames = self._driver.pagelocked_empty(size, np.uint8)
            except self._driver.MemoryError as error:
                raise BackendError(
                    f"there are no {size >> 20} MiB of page-locked memory left; "
                    "build for a smaller size or batch"
                ) from error
        return memory

    def close(self) -> None:
        self._context.push()
        self._memory.clear()
        self._streams.clear()
        # PyCUDA gives a primary context back only where it is current, and takes it for gone then;
        # for the driver it would stay this thread's.
        call_driver("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))
        self._context.detach()


def out_of_memory(size: int, free: int, total: int) -> BackendError:
    """The error of an allocation of ``size`` bytes that does not fit."""
    return BackendError(
        f"the GPU's memory is full: {size >> 20} MiB asked for, {free >> 20} of {total >> 20} MiB "
        "free; build for a smaller size or batch, or close what else uses the GPU"
    )


def call_driver(function: str, *arguments: object) -> None:
    """One call of the driver. Raises BackendError with the name of its error."""
    library = _driver()
    code = library[function](*arguments)
    if code:
        name = ctypes.c_char_p()
        library["cuGetErrorName"](code, ctypes.byref(name))
        said = name.value.decode() if name.value else f"error {code}"
        raise BackendError(f"the GPU failed: {function} says {said}")


def _pointer(address: int) -> ctypes.c_uint64:
    return ctypes.c_uint64(address)


def _handle(stream: int) -> ctypes.c_void_p:
    return ctypes.c_void_p(stream)


def _size(frames: Frames) -> ctypes.c_size_t:
    return ctypes.c_size_t(frames.nbytes)


@functools.cache
def _driver() -> Any:
    """The driver's own library. Raises OSError where there is none."""
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
