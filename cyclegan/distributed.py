"""Many processes that train one model, each on its own pictures, as ``torchrun`` starts them.

Every process holds the whole model and starts from the same weights. After each backward pass the
gradients of all are averaged, so that the weights stay the same everywhere; two processes with a
batch each do what one does with both. The generators' are exchanged while the discriminators look
for theirs, which a phase that is compiled whole allows too: it gives all its gradients at once.
Image pools and crops differ by rank. Only rank 0 writes.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from cyclegan.errors import ConfigError, CycleGANError


@dataclass(frozen=True, kw_only=True)
class World:
    """The processes of a run, and which of them this one is.

    What exchanges raises CycleGANError where another process has ended.
    """

    rank: int = 0
    size: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def averaging(self, optimizer: torch.optim.Optimizer) -> Callable[[], None]:
        """Begin to replace each gradient by its mean over all processes; call the result to end it.

        In one exchange, which goes on while this process computes something else. Weights that no
        gradient has come to count as 0: pictures of another size may have one for them elsewhere.
        """
        if self.size == 1:
            return lambda: None
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        for weight in weights:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        gradients = [weight.grad for weight in weights]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        with _exchanging():
            exchange = dist.all_reduce(flat, async_op=True)

        def end() -> None:
            with _exchanging():
                exchange.wait()
            means = torch.split(flat.div_(self.size), [part.numel() for part in gradients])
            for gradient, mean in zip(gradients, means, strict=True):
                gradient.copy_(mean.view_as(gradient))

        return end

    def gathered(self, value: Any) -> list[Any]:
        """``value`` of every process, by rank; empty where this one does not write."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with _exchanging():
            dist.gather_object(value, values if self.writes else None)
        return values if self.writes else []

    def agreed(self, value: bool) -> bool:
        """Whether any process says so: all leave a loop together."""
        return any(self.all_gathered(value))

    def meet(self) -> None:
        """Go on once every process has come here."""
        self.all_gathered(None)

    def all_gathered(self, value: Any) -> list[Any]:
        """``value`` of every process, by rank, in every process."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with _exchanging():
            dist.all_gather_object(values, value)
        return values


@contextmanager
def _exchanging() -> Iterator[None]:
    """Have a process that is missed be told in our words: gloo has RuntimeError alone for it.

    Those of a class of its own, such as of a GPU that is full, stay what they are.
    """
    try:
        yield
    except RuntimeError as error:
        if type(error) is not RuntimeError and not isinstance(error, dist.DistError):
            raise
        reason, _, _ = str(error).partition("\n")
        raise CycleGANError(
            "another process of this run has ended, or does not answer: it or torchrun says why. "
            f"What was since the last checkpoint is lost; go on from there by --resume ({reason})"
        ) from error


ALONE = World()


class Meetings:
    """Steps after which the processes of a run meet: about every ``SECONDS``, or every step.

    All must come to the same ones, so rank 0, by its clock, says which is next.
    """

    SECONDS = 2.0

    def __init__(self, world: World, step: int) -> None:
        """``step`` is the one that the run goes on after."""
        self._world, self._next = world, step + 1
        self._last = step, time.monotonic()

    def after(self, step: int) -> bool:
        """Whether they meet after ``step``."""
        if step < self._next:
            return False
        (before, then), self._last = self._last, (step, time.monotonic())
        rate = (step - before) / max(self._last[1] - then, 1e-9)
        self._next = step + self._world.all_gathered(max(1, int(self.SECONDS * rate)))[0]
        return True


def launched() -> bool:
    """Whether ``torchrun`` started this process, alone or with others."""
    return "WORLD_SIZE" in os.environ


_LONGEST_WAIT = timedelta(hours=6)
"""For the first process, which scores and saves meanwhile; over NCCL the end of it kills the run.
A process that has ended is noticed at once."""
_MEETING = ("RANK", "MASTER_ADDR", "MASTER_PORT")
_REMEDY = "start it by torchrun, or unset WORLD_SIZE"


@contextmanager
def world(device: str) -> Iterator[tuple[World, str]]:
    """The processes that ``torchrun`` started, or this one alone, and this one's device.

    Raises ConfigError where the environment tells of others but not how to meet them, and where
    there are more processes than GPUs.
    """
    size = _number("WORLD_SIZE", 1, least=1)
    if size == 1:
        yield ALONE, device
        return
    if missing := [name for name in _MEETING if not os.environ.get(name)]:
        raise ConfigError(
            f"WORLD_SIZE is {size}, but not set are {', '.join(missing)}, by which its processes "
            f"find each other; {_REMEDY}"
        )
    rank = _number("RANK", 0)
    local = _number("LOCAL_RANK", rank)
    if device == "cuda":
        if local >= torch.cuda.device_count():
            raise ConfigError(
                f"process {local} of this machine has no GPU of its own: there are "
                f"{torch.cuda.device_count()}; start as many processes as GPUs"
            )
        torch.cuda.set_device(local)
        device = f"cuda:{local}"
    backend = "nccl" if device.startswith("cuda") else "gloo"
    dist.init_process_group(backend, timeout=_LONGEST_WAIT)
    try:
        yield World(rank=rank, size=size), device
    finally:
        dist.destroy_process_group()


def _number(name: str, usual: int, least: int = 0) -> int:
    """What the environment has under that name. Raises ConfigError."""
    told = os.environ.get(name, str(usual))
    if not told.isdecimal() or int(told) < least:
        raise ConfigError(f"{name} is {told!r}, expected a number from {least} up; {_REMEDY}")
    return int(told)
