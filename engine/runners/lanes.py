"""Ways for batches to one of PyTorch's devices and back, side by side.

On CUDA each lane is a stream of its own, and what travels lies in page-locked memory, so that one
batch is copied while another is computed, and the host waits for neither. On a CPU there is nothing
to travel.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from cyclegan.engine.runners.replays import Replays, cuda_graphs
from cyclegan.engine.tickets import Frames, depth_of


class Lane:
    """One batch at a time, from its numbers on the host to its numbers on the host."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: Any = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.replayed = Replays(cuda_graphs(self._stream) if self._stream else None)
        """Does what is to be done, on a GPU by CUDA graphs where it comes again."""

    @contextlib.contextmanager
    def work(self) -> Iterator[None]:
        """What is begun inside is done in this lane, one after the other."""
        stream = (
            contextlib.nullcontext() if self._stream is None else torch.cuda.stream(self._stream)
        )
        with torch.inference_mode(), stream:
            yield

    def held(self, frames: Frames) -> Tensor:
        """A copy of ``frames`` that the device can fetch by itself."""
        kind = torch.uint16 if depth_of(frames) == 16 else torch.uint8
        host = torch.empty(frames.shape, dtype=kind, pin_memory=self._stream is not None)
        host.numpy()[...] = frames
        return host

    def there(self, tensor: Tensor) -> Tensor:
        """``tensor`` on the device; it must be kept until the lane is done."""
        return tensor.to(self._device, non_blocking=True)

    def back(self, tensor: Tensor) -> Tensor:
        """A contiguous tensor on the host that holds the numbers once the lane is done."""
        if self._stream is None:
            return tensor.contiguous()
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return host.copy_(tensor, non_blocking=True)

    def done(self) -> Callable[[], None]:
        """What waits for all that was begun so far."""
        if self._stream is None:
            return lambda: None
        # Blocking: the thread that waits sleeps.
        event: Any = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        event.record(self._stream)
        wait: Callable[[], None] = event.synchronize
        return wait
