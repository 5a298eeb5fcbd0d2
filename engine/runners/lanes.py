"""Ways for batches to one of PyTorch's devices and back, side by side.

On CUDA each lane is a stream of its own, and what travels lies in page-locked memory, so that one
batch is copied while another is computed, and the host waits for neither. On a CPU there is nothing
to travel.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from cyclegan.engine.frames import Frames, depth_of
from cyclegan.engine.planes import Planes
from cyclegan.engine.runners.replays import Replays, Tensors, cuda_graphs


@dataclass(frozen=True)
class Begun:
    """A batch that a lane is at work on."""

    made: Tensors
    """On the host; the numbers are there once ``wait`` has returned."""
    wait: Callable[[], None]
    given: Any
    """Kept until the device has read it."""

    def frames(self) -> Frames:
        """The one tensor of frames, when it is there: the one place where the host waits."""
        self.wait()
        (made,) = self.made
        frames: Frames = made.numpy()
        return frames

    def planes(self) -> list[Planes]:
        """The tensors of planes as pictures, likewise."""
        self.wait()
        return [replace(given, y=y, uv=uv) for given, y, uv in zip(self.given, *self.made)]


class Lane:
    """One batch at a time, from its numbers on the host to its numbers on the host."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: Any = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.replayed = Replays(cuda_graphs(self._stream) if self._stream else None)
        """Does what is to be done, on a GPU by CUDA graphs where it comes again."""

    @property
    def handle(self) -> int:
        """Of the CUDA stream; 0 on a CPU."""
        return 0 if self._stream is None else int(self._stream.cuda_stream)

    def held(self, frames: Frames) -> Tensor:
        """A copy of ``frames`` that the device can fetch by itself."""
        if self._stream is None:
            return torch.from_numpy(frames.copy())
        kind = torch.uint16 if depth_of(frames) == 16 else torch.uint8
        host = torch.empty(frames.shape, dtype=kind, pin_memory=True)
        host.numpy()[...] = frames
        return host

    def begin_frames(self, held: Tensor, run: Callable[[Tensor], Tensors]) -> Begun:
        """Start ``run`` on what ``held`` gave."""
        with self.work():
            made = tuple(map(self._back, run(self._there(held))))
        return Begun(made, self._done(), held)

    def begin_planes(
        self, pictures: Sequence[Planes], run: Callable[[Tensor, Tensor], Tensors]
    ) -> Begun:
        """Start ``run`` on the planes (N, H, W) and (N, H/2, W/2, 2) of pictures of one size."""
        with self.work():
            y = torch.stack([self._there(planes.y) for planes in pictures])
            uv = torch.stack([self._there(planes.uv) for planes in pictures])
            made = tuple(map(self._back, run(y, uv)))
        return Begun(made, self._done(), (*pictures,))

    @contextlib.contextmanager
    def work(self) -> Iterator[None]:
        """What is begun inside is done in this lane, one after the other."""
        stream = (
            contextlib.nullcontext() if self._stream is None else torch.cuda.stream(self._stream)
        )
        with torch.inference_mode(), stream:
            yield

    def _there(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device, non_blocking=True)

    def _back(self, tensor: Tensor) -> Tensor:
        """A contiguous tensor on the host that holds the numbers once the lane is done."""
        if self._stream is None:
            return tensor.contiguous()
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return host.copy_(tensor, non_blocking=True)

    def _done(self) -> Callable[[], None]:
        """What waits for all that was begun so far."""
        if self._stream is None:
            return lambda: None
        # Blocking: the thread that waits sleeps.
        event: Any = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        event.record(self._stream)
        wait: Callable[[], None] = event.synchronize
        return wait
