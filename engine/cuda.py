"""The little of CUDA that a runner needs, over PyCUDA and the driver's own library.

PyCUDA gives contexts, page-locked memory, streams and events; stream capture, which it does not
have, goes to the driver itself. The GPU's primary context is retained, the one that other libraries
of this process use too: a second context could not share memory with them.
"""

import contextlib
import ctypes
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from cyclegan.engine.gpus import Gpu
from cyclegan.engine.tickets import Frames
from cyclegan.errors import BackendError, ConfigError

INSTALL = "pip install 'cyclegan-engine[tensorrt]' (PyCUDA is built against the CUDA toolkit)"
_THREAD_LOCAL = 1
"""Capture mode: other threads may go on calling CUDA meanwhile."""
_NON_BLOCKING = 1
"""Flag of a stream that does not wait for the default one."""
_NO_TIMING = 2
"""Flag of an event."""


class Cuda(Protocol):
    """One GPU. Handles of streams and buffers are integers, as TensorRT takes them."""

    gpu: Gpu

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

    def copy_on_device(self, target: int, source: int, size: int, stream: int) -> None:
        """Start to copy ``size`` bytes within the device."""

    def synchronize(self, stream: int) -> None:
        """Wait until all that was given to ``stream`` has ended. Raises BackendError."""

    def wait_for(self, stream: int, other: int) -> None:
        """Let ``stream`` wait, on the device, for what ``other`` was given so far."""

    def capture(self, stream: int, work: Callable[[], None]) -> Callable[[int], None]:
        """Record what ``work`` gives to ``stream``; the result replays it in a stream."""

    def close(self) -> None:
        """Give all memory, streams and graphs back."""


def missing() -> str | None:
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
    if reason := missing():
        raise BackendError(f"no CUDA: {reason}")
    name, _, number = (device or "cuda:0").partition(":")
    if name != "cuda" or not (number or "0").isdecimal():
        raise ConfigError(f"device {device!r}: expected cuda, or cuda:N with the GPU's number")
    return PyCuda(int(number or 0))


class PyCuda:
    """:class:`Cuda` over PyCUDA."""

    def __init__(self, number: int) -> None:
        import pycuda.driver as driver

        self._driver = driver
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
        self._streams: dict[int, Any] = {}
        self._memory: dict[int, Any] = {}
        self._graphs: list[ctypes.c_void_p] = []

    @contextmanager
    def current(self) -> Iterator[None]:
        self._context.push()
        try:
            yield
        finally:
            self._driver.Context.pop()

    def stream(self) -> int:
        with self.current():
            stream = self._driver.Stream(_NON_BLOCKING)
        self._streams[stream.handle] = stream
        return int(stream.handle)

    def allocate(self, size: int) -> int:
        with self.current():
            try:
                memory = self._driver.mem_alloc(size)
            except self._driver.MemoryError as error:
                free, total = self._driver.mem_get_info()
                raise BackendError(
                    f"the GPU's memory is full: {size >> 20} MiB asked for, {free >> 20} of "
                    f"{total >> 20} MiB free; build for a smaller size or batch, or close what "
                    "else uses the GPU"
                ) from error
        self._memory[int(memory)] = memory
        return int(memory)

    def pinned(self, size: int) -> Frames:
        with self.current():
            memory: Frames = self._driver.pagelocked_empty(size, np.uint8)
        return memory

    def copy_in(self, target: int, source: Frames, stream: int) -> None:
        self._driver.memcpy_htod_async(target, source, self._streams[stream])

    def copy_out(self, target: Frames, source: int, stream: int) -> None:
        self._driver.memcpy_dtoh_async(target, source, self._streams[stream])

    def copy_on_device(self, target: int, source: int, size: int, stream: int) -> None:
        self._driver.memcpy_dtod_async(target, source, size, self._streams[stream])

    def synchronize(self, stream: int) -> None:
        try:
            self._streams[stream].synchronize()
        except self._driver.Error as error:
            raise BackendError(f"the GPU failed on a batch: {error}") from error

    def wait_for(self, stream: int, other: int) -> None:
        event = ctypes.c_void_p()
        library = _driver()
        _check(library.cuEventCreate(ctypes.byref(event), _NO_TIMING), "cuEventCreate")
        try:
            _check(library.cuEventRecord(event, ctypes.c_void_p(other)), "cuEventRecord")
            _check(
                library.cuStreamWaitEvent(ctypes.c_void_p(stream), event, 0), "cuStreamWaitEvent"
            )
        finally:
            library.cuEventDestroy_v2(event)  # the device keeps it until it has passed

    def capture(self, stream: int, work: Callable[[], None]) -> Callable[[int], None]:
        library, graph, runnable = _driver(), ctypes.c_void_p(), ctypes.c_void_p()
        handle = ctypes.c_void_p(stream)
        _check(library.cuStreamBeginCapture_v2(handle, _THREAD_LOCAL), "cuStreamBeginCapture")
        try:
            work()
        finally:  # ends the capture when ``work`` raises, too
            code = library.cuStreamEndCapture(handle, ctypes.byref(graph))
        _check(code, "cuStreamEndCapture")
        try:
            code = library.cuGraphInstantiateWithFlags(
                ctypes.byref(runnable), graph, ctypes.c_ulonglong(0)
            )
            _check(code, "cuGraphInstantiate")
        finally:
            library.cuGraphDestroy(graph)
        self._graphs.append(runnable)

        def replay(stream: int) -> None:
            _check(library.cuGraphLaunch(runnable, ctypes.c_void_p(stream)), "cuGraphLaunch")

        return replay

    def close(self) -> None:
        with self.current():
            for graph in self._graphs:
                _driver().cuGraphExecDestroy(graph)
            for memory in self._memory.values():
                memory.free()
            self._graphs.clear()
            self._memory.clear()
            self._streams.clear()
        with contextlib.suppress(self._driver.LogicError):  # as at the end of the process
            self._context.detach()


def _check(code: int, what: str) -> None:
    if code:
        raise BackendError(f"{what} failed with CUDA error {code}")


def _driver() -> Any:
    """The driver's own library. Raises OSError where there is none."""
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
