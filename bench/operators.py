"""What the suites of single operators on a CPU share: the check, and calls in turns."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from bench.limits import Work
from bench.suite import Comparison, Repeated

Call = Callable[[], Tensor | tuple[Tensor, ...]]
NEAR = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
"""Relative distance from float64 in the L2 norm; more is a wrong result."""


def check(what: str, found: Tensor, exact: Tensor, dtype: torch.dtype) -> None:
    """Raises AssertionError if ``found`` is farther from ``exact`` than ``dtype`` allows."""
    error = float((found.double() - exact).norm() / exact.norm())
    assert error < NEAR[dtype], f"{what} is wrong: {error}"


def dtype_name(x: Tensor) -> str:
    """For titles and settings: ``bfloat16``."""
    return str(x.dtype).removeprefix("torch.")


def shape_name(x: Tensor) -> str:
    """For titles and settings: ``1x64x256x256``."""
    return "x".join(map(str, x.shape))


def comparison(
    name: str, calls: Mapping[str, Call], x: Tensor, *, work: Work | None = None, **settings: Any
) -> Comparison:
    """Calls on ``x``, without gradients being recorded."""

    def repeated(call: Call) -> Repeated:
        def repeat(count: int) -> None:
            with torch.no_grad():
                for _ in range(count):
                    call()

        return repeat

    return Comparison(
        name=name,
        candidates={name: repeated(call) for name, call in calls.items()},
        unit="calls",
        settings={"shape": shape_name(x), **settings, "threads": torch.get_num_threads()},
        work=work,
    )
