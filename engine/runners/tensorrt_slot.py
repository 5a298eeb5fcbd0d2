"""Room for one batch on the GPU.

N batch, H height, W width, C channels. A slot has a stream, an execution context, device buffers,
page-locked buffers. From the second batch of a shape in a row, copy in, network and copy out are a
CUDA graph, and a batch is one launch.
"""

import contextlib
import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from cyclegan.engine.cuda import Cuda
from cyclegan.engine.device_arrays import DeviceFrames, DeviceView
from cyclegan.engine.frames import Frames
from cyclegan.engine.graph_info import INPUT, OUTPUT
from cyclegan.engine.plan_settings import Profile
from cyclegan.engine.runners.kernel_cache import Contexts
from cyclegan.errors import BackendError, FrameError

ALIGNED = 256
"""Bytes of which TensorRT wants addresses to be multiples."""

_log = logging.getLogger(__name__)


class Slot:
    """One batch at a time, from ``begin`` to ``finish``, or on the device altogether."""

    def __init__(
        self, cuda: Cuda, contexts: Contexts, profile: Profile, channels: tuple[int, int]
    ) -> None:
        self._cuda, self._channels = cuda, channels
        pixels = int(np.prod(profile.most))
        with cuda.current():
            self._context: Any = contexts.create()
        self._stream = cuda.stream()
        self._host_in, self._host_out = (cuda.pinned(pixels * c) for c in channels)
        self._in, self._out = (cuda.allocate(pixels * c) for c in channels)
        self._shape: tuple[int, ...] | None = None
        self._has_run = False  # with that shape
        self._records = True
        self._replay: Callable[[int], None] | None = None

    def begin(self, frames: Frames) -> None:
        """Start a batch, uint8 (N, H, W, C); it may be overwritten once this returns.

        Raises FrameError for another dtype.
        """
        if frames.dtype != np.uint8:  # it would be copied modulo 256
            raise FrameError(f"frames are {frames.dtype}; expected uint8")
        with self._cuda.current():
            self._cuda.synchronize(self._stream)  # idle, unless a stop came between start and end
            np.copyto(self._staged(self._host_in, frames.shape), frames)
            if self._shape != frames.shape:
                self._set_shape(frames.shape)
            if self._replay is None and self._has_run and self._records:
                self._record()
            if self._replay is not None:
                self._replay(self._stream)
                return
            # A shape's first run does more, which must not be recorded, and may be its only one.
            self._address(self._in, self._out)
            self._batch()
            self._has_run = True

    def finish(self) -> Frames:
        """Wait for the batch; a copy of its frames."""
        assert self._shape is not None, "finish without begin"
        with self._cuda.current():
            self._cuda.synchronize(self._stream)  # the one place where the host waits
        return self._staged(self._host_out, (*self._shape[:3], self._channels[1])).copy()

    def translate(self, view: DeviceView, stream: int) -> DeviceFrames:
        """Device to device, between what ``stream`` was given and will be given.

        The same holds for the stream of the frames, which may use their memory anew once they are
        dropped.
        """
        streams = [stream]
        if view.stream is not None and view.stream != stream:
            streams.append(view.stream)
        with self._cuda.current():
            if self._shape != view.shape:
                self._set_shape(view.shape)
            for other in streams:
                self._cuda.wait_for(self._stream, other)
            self._address(self._aligned(view), self._out)
            self._enqueue()
            for other in streams:
                self._cuda.wait_for(other, self._stream)
        shape = (*view.shape[:3], self._channels[1])
        return DeviceFrames(self._out, shape, stream, self._cuda.number, owner=self)

    def close(self) -> None:
        """Let go of the context, the graph and the host's buffers; the rest goes with the GPU's."""
        with self._cuda.current():
            with contextlib.suppress(BackendError):  # a GPU that has failed has nothing to end
                self._cuda.synchronize(self._stream)
            self._replay = self._context = None
            self._host_in = self._host_out = np.empty(0, np.uint8)

    def _set_shape(self, shape: tuple[int, ...]) -> None:
        """A graph holds for the context's shape alone: it goes."""
        self._shape, self._has_run, self._replay = None, False, None
        if not self._context.set_input_shape(INPUT, shape):
            raise FrameError(f"the plan does not take frames of shape {shape}")
        self._shape = shape

    def _record(self) -> None:
        """Not every engine can be recorded: one that cannot goes on without a graph."""
        self._address(self._in, self._out)
        try:
            self._replay = self._cuda.capture(self._stream, self._batch)
        except BackendError as error:
            self._records = False
            _log.info("batches are started one by one, not as a CUDA graph: %s", error)

    def _aligned(self, view: DeviceView) -> int:
        """The address of the frames, or of their copy: a slice may lie anywhere."""
        if view.pointer % ALIGNED == 0:
            return view.pointer
        size = int(np.prod(view.shape))
        self._cuda.copy_within(self._in, view.pointer, size, self._stream)
        return self._in

    def _address(self, source: int, target: int) -> None:
        for name, address in ((INPUT, source), (OUTPUT, target)):
            if not self._context.set_tensor_address(name, address):
                raise BackendError(f"TensorRT refuses the address {address:#x} of {name}")

    def _batch(self) -> None:
        assert self._shape is not None
        made = (*self._shape[:3], self._channels[1])
        self._cuda.copy_in(self._in, self._flat(self._host_in, self._shape), self._stream)
        self._enqueue()
        self._cuda.copy_out(self._flat(self._host_out, made), self._out, self._stream)

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream):
            raise BackendError("TensorRT refuses to run the batch; its log says why")

    @staticmethod
    def _flat(memory: Frames, shape: tuple[int, ...]) -> Frames:
        return memory[: int(np.prod(shape))]

    @classmethod
    def _staged(cls, memory: Frames, shape: tuple[int, ...]) -> Frames:
        return cls._flat(memory, shape).reshape(shape)
