"""When and how the phases of a training step go through ``torch.compile``."""

import os
import shutil
import sys
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import FunctionType, MethodType
from typing import Any

import torch

from cyclegan.config import Compile

LEAST_STEPS = 5_000
LEAST_MINUTES = 20.0
"""Runs as long as this earn back the compilation, which takes one to three minutes on a CPU."""


class CompiledPhase:
    """``phase`` as one compiled graph. Where the compiler fails, it runs as it is, with a warning.

    Shapes are static: another size compiles again.
    """

    def __init__(self, phase: Callable[..., Any], **options: Any) -> None:
        self.phase = phase
        self.call: Callable[..., Any] = torch.compile(
            _with_code_of_its_own(phase), fullgraph=True, dynamic=False, **options
        )

    def __call__(self, *inputs: Any) -> Any:
        from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException
        from torch._inductor.exc import InductorError

        try:
            with _backward_as_well():
                return self.call(*inputs)
        except (TorchDynamoException, InductorError, FailOnRecompileLimitHit) as error:
            if self.call is self.phase:
                raise
            reason = str(error).strip().splitlines()[0]
            if isinstance(error, FailOnRecompileLimitHit):  # which says how it was called, not why
                reason = "pictures have too many sizes; choose a preprocess that crops"
            warnings.warn(f"torch.compile failed, going on without it: {reason}", stacklevel=2)
            self.call = self.phase
            return self.phase(*inputs)


def _with_code_of_its_own(method: Any) -> Callable[..., Any]:
    """The bound ``method``, whose compiled variants count for no other object.

    PyTorch counts them by code object, which all models of a process share, up to a limit.
    """
    shared = method.__func__
    own = FunctionType(
        shared.__code__.replace(),
        shared.__globals__,
        shared.__name__,
        shared.__defaults__,
        shared.__closure__,
    )
    own.__kwdefaults__ = shared.__kwdefaults__
    return MethodType(own, method.__self__)


def _backward_as_well() -> AbstractContextManager[Any]:
    """Have the backward pass compiled with the forward pass, whose errors are caught.

    Else PyTorch compiles it in ``backward``.
    """
    from torch._functorch import config

    setting = "force_non_lazy_backward_lowering"  # which older PyTorch does not have
    return config.patch({setting: True}) if hasattr(config, setting) else nullcontext()


def worth_compiling(
    compile: Compile,
    *,
    device: str,
    steps: int,
    minutes: float | None,
    one_size: bool,
    native: bool,
) -> bool:
    """Whether a run of so many steps, or minutes, shall be compiled.

    ``auto`` does where it pays: in long runs whose pictures are all of ``one_size``, on a machine
    with a compiler. Steps whose norms are ``native`` kernels of the CPU gain next to nothing.
    """
    if compile != "auto":
        return compile != "off"
    long = steps >= LEAST_STEPS if minutes is None else minutes >= LEAST_MINUTES
    return long and one_size and not native and _has_compiler(device)


def worth_replaying(compile: Compile, *, device: str, processes: int) -> bool:
    """Whether compiled phases shall be replayed as CUDA graphs.

    ``auto`` does on one GPU: a step of batch 1 is some thousand short kernels, which the host needs
    twice as long to launch as an H100 to run. With several processes only who asks for it gets it.
    """
    return compile == "cuda-graphs" or (
        compile == "auto" and device.startswith("cuda") and processes == 1
    )


def _has_compiler(device: str) -> bool:
    """Whether Inductor can generate code here: Triton for a GPU, a C++ compiler for a CPU."""
    if device.startswith("cuda"):
        from torch.utils._triton import has_triton

        return bool(has_triton())
    return sys.platform == "linux" and shutil.which(cpp_compiler()) is not None


def cpp_compiler() -> str:
    """The one C++ compiler that Inductor runs: ``$CXX``, or what is usual on the system."""
    usual = {"darwin": "clang++", "win32": "cl"}
    return os.environ.get("CXX", usual.get(sys.platform, "g++"))
