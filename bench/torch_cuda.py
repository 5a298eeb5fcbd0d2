"""The runner's CUDA layer over PyTorch, for machines that have PyTorch and no PyCUDA.

Context, streams and memory are PyTorch's; copies, waits and captures are the runner's own. Both
libraries use the GPU's primary context.
"""

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch

from cyclegan.engine.cuda import DriverCuda, out_of_memory
from cyclegan.engine.gpus import Gpu
from cyclegan.engine.tickets import Frames


class TorchCuda(DriverCuda):
    """:class:`cyclegan.engine.cuda.Cuda` over PyTorch, on the first GPU."""

    def __init__(self) -> None:
        torch.cuda.init()
        properties = torch.cuda.get_device_properties(0)
        self.gpu = Gpu(
            name=properties.name,
            memory_mib=properties.total_memory >> 20,
            driver=f"CUDA {torch.version.cuda}",
            compute_capability=f"{properties.major}.{properties.minor}",
        )
        self._kept: list[Any] = []

    def current(self) -> AbstractContextManager[Any]:
        return torch.cuda.device(0)

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
