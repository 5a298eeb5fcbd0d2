"""A GPU made of NumPy, for what surrounds the CUDA calls: order, slots, shapes, errors.

Work that is given to a stream waits there until the stream is synchronised, as late as the real one
may do it. Nothing of this says that the real calls work: only a GPU can.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from cyclegan.engine.frames import Frames
from cyclegan.engine.gpus import Gpu
from cyclegan.errors import BackendError

GPU = Gpu(name="Fake 4090", memory_mib=24576, driver="999.1", compute_capability="8.9")


class FakeCuda:
    """:class:`cyclegan.engine.cuda.Cuda` on NumPy arrays."""

    def __init__(self, memory: int = 1 << 30) -> None:
        self.gpu, self.number = GPU, 0
        self.free = memory
        self.buffers: dict[int, Frames] = {}
        self.queues: dict[int, list[Callable[[], None]]] = {}
        self.recording: dict[int, list[Callable[[], None]]] = {}
        self.captures = 0
        self.depth = 0
        self.closed = False
        self.waits: list[tuple[int, int]] = []

    @contextmanager
    def current(self) -> Iterator[None]:
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1

    def stream(self) -> int:
        handle = 100 + len(self.queues)
        self.queues[handle] = []
        return handle

    def allocate(self, size: int) -> int:
        if size > self.free:
            raise BackendError(f"the GPU's memory is full: {size} bytes asked for")
        self.free -= size
        address = (1 + len(self.buffers)) << 32
        self.buffers[address] = np.zeros(size, np.uint8)
        return address

    def pinned(self, size: int) -> Frames:
        return np.zeros(size, np.uint8)

    def copy_in(self, target: int, source: Frames, stream: int) -> None:
        self.give(stream, lambda: np.copyto(self.buffers[target][: source.size], source))

    def copy_out(self, target: Frames, source: int, stream: int) -> None:
        self.give(stream, lambda: np.copyto(target, self.buffers[source][: target.size]))

    def copy_within(self, target: int, source: int, size: int, stream: int) -> None:
        self.give(stream, lambda: np.copyto(self.at(target, size), self.at(source, size)))

    def at(self, address: int, size: int) -> Frames:
        """``size`` bytes of a buffer, or of a part of it."""
        buffer = self.buffers[address >> 32 << 32]
        start = address % (1 << 32)
        return buffer[start : start + size]

    def synchronize(self, stream: int) -> None:
        assert self.depth > 0, "no context is current"
        queue, self.queues[stream] = self.queues[stream], []
        for work in queue:
            work()

    def wait_for(self, stream: int, other: int) -> None:
        assert self.depth > 0, "no context is current"
        self.waits.append((stream, other))

    def capture(self, stream: int, work: Callable[[], None]) -> Callable[[int], None]:
        assert not self.queues[stream], "the stream was not idle when the capture began"
        self.recording[stream] = []
        try:
            work()
        finally:
            recorded = self.recording.pop(stream)
        self.captures += 1

        def replay(target: int) -> None:
            assert self.depth > 0, "no context is current"
            self.queues[target].extend(recorded)

        return replay

    def close(self) -> None:
        assert not self.closed
        self.closed = True

    def give(self, stream: int, work: Callable[[], None]) -> None:
        """Queue ``work``, or record it."""
        assert self.depth > 0, "no context is current"
        self.recording.get(stream, self.queues[stream]).append(work)


class FakeEngine:
    """An engine that inverts frames; its contexts fail as TensorRT does, by returning False."""

    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda
        self.contexts: list[FakeContext] = []
        self.out_of_memory = False
        self.kernels = FakeKernels()

    def create_runtime_config(self) -> "FakeKernels":
        return self.kernels

    def create_execution_context(self, config: object = None) -> "FakeContext | None":
        assert config in (None, self.kernels)
        if self.out_of_memory:
            return None
        self.contexts.append(FakeContext(self.cuda))
        return self.contexts[-1]


class FakeKernels:
    """A runtime configuration and its cache of compiled kernels, in one."""

    def __init__(self) -> None:
        self.read: bytes | None = None
        self.in_use = False
        self.dynamic_shapes_kernel_specialization_strategy: Any = None

    def create_runtime_cache(self) -> "FakeKernels":
        return self

    def set_runtime_cache(self, cache: object) -> bool:
        self.in_use = cache is self
        return True

    def deserialize(self, blob: bytes) -> bool:
        self.read = blob
        return blob == b"kernels"

    def serialize(self) -> bytes:
        return b"kernels"


class FakeContext:
    """One execution context."""

    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda
        self.runs = 0
        self.shape: tuple[int, ...] | None = None
        self.has_run = False
        self.addresses: dict[str, int] = {}
        self.refuses = False
        self.refuses_recording = False
        self.refused_address: int | None = None

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == "frames"
        self.shape, self.has_run = shape, False
        return not self.refuses

    def set_tensor_address(self, name: str, address: int) -> bool:
        if address % 256 or address == self.refused_address:
            return False
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert self.shape is not None
        size, addresses = int(np.prod(self.shape)), dict(self.addresses)
        shape, recorded = self.shape, stream in self.cuda.recording
        assert self.has_run or not recorded, "a shape's first run must not be recorded"
        self.has_run = True

        def invert() -> None:
            assert self.shape == shape or not recorded, "a graph of another shape was replayed"
            self.runs += 1
            frames = self.cuda.at(addresses["frames"], size)
            self.cuda.at(addresses["translated"], size)[:] = 255 - frames

        if self.refuses or (self.refuses_recording and recorded):
            return False
        self.cuda.give(stream, invert)
        return True


class DeviceArray:
    """An array on the fake GPU, as CuPy or PyTorch would hand it in."""

    def __init__(
        self, cuda: FakeCuda, frames: Frames, stream: int | None = None, offset: int = 0
    ) -> None:
        self.address = cuda.allocate(offset + frames.size) + offset
        cuda.at(self.address, frames.size)[:] = frames.reshape(-1)
        self.__cuda_array_interface__: dict[str, Any] = {
            "shape": frames.shape,
            "typestr": "|u1",
            "data": (self.address, False),
            "strides": None,
            "version": 3,
            "stream": stream,
        }
