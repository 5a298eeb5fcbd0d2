"""Calls whose results are compared with the exact ones before they are timed."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.switches import without_kernels

Call = Callable[[], object]

NEAR = 2e-3
"""How far all that a graph writes may be from the exact results, relatively, in the L2 norm.
Rounding to half precision makes 3e-4 of it, PyTorch's operators round several times, and here and
there a number next to 0 falls on the other side of an activation. One wrong image of 256 makes a
tenth."""
AT_ONCE = 1 << 26
"""Numbers that are compared at once; never less than an image."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A call, and what must come of it."""

    call: Call
    images: int
    """Of its batch; none of them depends on another."""
    exact: Callable[[slice], Any]
    """The result or results for some of the images."""

    def __call__(self) -> object:
        return self.call()

    def squares(self, made: Any) -> Iterator[Tensor]:
        """The sums of squares of what is wrong with some numbers, and of the exact ones: (2,)."""
        largest = max(result.numel() for result in as_tuple(made)) // self.images
        step = max(1, AT_ONCE // largest)
        for first in range(0, self.images, step):
            images = slice(first, first + step)
            with without_kernels():
                exact = as_tuple(self.exact(images))
            for got, wanted in zip(as_tuple(made), exact, strict=True):
                wanted = wanted.double()
                off = got[images].double() - wanted
                yield torch.stack([off.square().sum(), wanted.square().sum()])


def as_tuple(results: Any) -> tuple[Tensor, ...]:
    """A single result as a tuple of one."""
    return results if isinstance(results, tuple) else (results,)


def check(calls: Sequence[Call], results: Sequence[object]) -> None:
    """Raises AssertionError where results are wrong. Waits for the device once."""
    squares = [
        pair
        for call, made in zip(calls, results, strict=True)
        if isinstance(call, Checked)
        for pair in call.squares(made)
    ]
    if squares:
        off, whole = torch.stack(squares).sum(0).tolist()
        distance = math.sqrt(off / whole)
        assert distance < NEAR, f"wrong results: {distance:.3g} from the exact ones, up to {NEAR}"
