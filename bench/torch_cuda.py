"""The runner's CUDA layer over PyTorch, for machines that have PyTorch and no PyCUDA.

Context, streams and memory are PyTorch's; copies, waits and captures are the runner's own. Both
libraries use the GPU's primary context.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from cyclegan.engine.cuda import DriverCuda, call_driver, out_of_memory
from cyclegan.engine.frames import Frames
from cyclegan.engine.gpus import Gpu


class TorchCuda(DriverCuda):
    """:class:`cyclegan.engine.cuda.Cuda` over PyTorch, on the first GPU."""

    number = 0

    def __init__(self) -> None:
        torch.cuda.init()
        self._context = ctypes.c_void_p()
        call_driver("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self.number)
        properties = torch.cuda.get_device_properties(0)
        self.gpu = Gpu(
            name=properties.name,
            memory_mib=properties.total_memory >> 20,
            driver=f"CUDA {torch.version.cuda}",
            compute_capability=f"{properties.major}.{properties.minor}",
        )
        self._kept: list[Any] = []

    @contextmanager
    def current(self) -> Iterator[None]:
        # torch.cuda.device() does nothing in a thread that has called nothing of CUDA yet.
        call_driver("cuCtxPushCurrent_v2", self._context)
        try:
            yield
        finally:
            call_driver("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def stream(self) -> int:
        self._kept.append(torch.cuda.Stream())
        return int(self._kept[-1].cuda_stream)

    def allocate(self, size: int) -> int:
        try:
            self._kept.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
        except torch.cuda.OutOfMemoryError as error:
            raise out_of_memory(size, *torch.cuda.mem_get_info()) from error
        return int(self._kept[-1].data_ptr())

    def pinned(self, size: int) -> Frames:
        memory = torch.empty(size, dtype=torch.uint8, pin_memory=True)
        self._kept.append(memory)
        array: Frames = np.asarray(memory.numpy())
        return array

    def close(self) -> None:
        torch.cuda.synchronize()  # nothing may still use what goes now
        self._kept.clear()
        call_driver("cuDevicePrimaryCtxRelease_v2", self.number)
