"""Many processes that train one model, each on its own pictures, as ``torchrun`` starts them.

Every process holds the whole model and starts from the same weights. After each backward pass the
gradients of all are averaged in one exchange, so that the weights stay the same everywhere; two
processes with a batch each do what one does with both. Image pools and crops differ by rank. Only
rank 0 writes.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from cyclegan.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class World:
    """The processes of a run, and which of them this one is."""

    rank: int = 0
    size: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each gradient by its mean over all processes."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.size
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def gathered(self, value: Any) -> list[Any]:
        """``value`` of every process, by rank; empty where this one does not write."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.gather_object(value, values if self.writes else None)
        return values if self.writes else []

    def agreed(self, value: bool) -> bool:
        """Whether any process says so: all leave a loop together."""
        return bool(self.first(value, any))

    def first(
        self, value: Any, choose: Callable[[list[Any]], Any] = lambda values: values[0]
    ) -> Any:
        """What rank 0 has, or what ``choose`` makes of all values, in every process."""
        if self.size == 1:
            return choose([value])
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return choose(values)


ALONE = World()


@contextmanager
def world(device: str) -> Iterator[tuple[World, str]]:
    """The processes that ``torchrun`` started, or this one alone, and this one's device.

    Raises ConfigError where there are more processes than GPUs.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if size == 1:
        yield ALONE, device
        return
    local = int(os.environ.get("LOCAL_RANK", rank))
    if device == "cuda":
        if local >= torch.cuda.device_count():
            raise ConfigError(
                f"process {local} of this machine has no GPU of its own: there are "
                f"{torch.cuda.device_count()}; start as many processes as GPUs"
            )
        torch.cuda.set_device(local)
        device = f"cuda:{local}"
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield World(rank=rank, size=size), device
    finally:
        dist.destroy_process_group()
