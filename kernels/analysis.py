"""PyTorch's analysis of our kernels, made once for each kind of call.

At every launch in a graph, and in each of its passes, torch.compile asks which tensors a kernel
writes, and Triton translates the kernel anew for the answer, although a network launches the same
few kinds of calls all over. The answer depends on the kernel, on dtypes and on numbers alone.
"""

import functools
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

NAMES = ("identify_accessed_tensors", "identify_mutated_tensors")
"""What the analysis is called in PyTorch 2.13, and before."""

Analysis = Callable[[Any, dict[str, Any], dict[str, Any]], Any]
"""Of a kernel, its arguments by name, and descriptors of memory that ours have none of."""


@functools.cache
def remember() -> None:
    """From now on PyTorch remembers what it finds of kernels of this package, and of no others."""
    from torch._higher_order_ops import triton_kernel_wrap

    for name in NAMES:
        if analysis := getattr(triton_kernel_wrap, name, None):
            setattr(triton_kernel_wrap, name, remembered(analysis))


def remembered(analysis: Analysis) -> Analysis:
    """``analysis``, which is asked once for calls that it cannot tell apart."""
    known: dict[Hashable, Any] = {}

    @functools.wraps(analysis)
    def ask(kernel: Any, kwargs: dict[str, Any], descriptors: dict[str, Any]) -> Any:
        kind = kind_of_call(kernel, kwargs) if not descriptors else None
        if kind is None:
            return analysis(kernel, kwargs, descriptors)
        if kind not in known:
            known[kind] = analysis(kernel, kwargs, descriptors)
        return known[kind]

    return ask


def kind_of_call(kernel: Any, kwargs: dict[str, Any]) -> Hashable:
    """What the analysis can see of a call, or None where a kernel or an argument is not ours.

    Of tensors that is the dtype, of symbols nothing. A number of warps, of which it sees nothing
    either, comes as an autotuner of one choice, a new one for each call.
    """
    import sympy  # comes with PyTorch, and takes a while to load

    if len(getattr(kernel, "configs", ())) == 1:
        kernel, kwargs = kernel.fn, {**kwargs, **kernel.configs[0].kwargs}
    if not str(getattr(kernel, "__module__", "")).startswith("cyclegan."):
        return None
    seen: list[Hashable] = [kernel]
    for name, value in kwargs.items():
        dtype = getattr(value, "dtype", None)
        if isinstance(dtype, torch.dtype):
            seen.append((name, isinstance(value, Tensor), dtype))
        elif isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool | sympy.Basic):
            seen.append((name, "symbol"))
        elif value is None or isinstance(value, bool | int | float | str):
            seen.append((name, type(value), value))
        else:
            return None
    return tuple(seen)
