"""Kernels for the CPU at hand: C++ beside this file, compiled when first needed.

A second of g++, once: what it makes stays in the user's cache folder, under a name that says what
source, compiler and CPU it was made of. Where there is no compiler, operations are their plain
PyTorch references.
"""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor

from cyclegan.files import cache_folder, replacing
from cyclegan.kernels import launch

SOURCE = Path(__file__).with_name("instance_norm_cpu.cpp")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared")
"""OpenMP's threads are PyTorch's own: it has brought the library that they come from."""
SECONDS = 120
"""A compiler that takes longer hangs."""

ON = sys.platform == "linux"
"""Elsewhere, and where a benchmark says so, nothing of this is used."""

POINTER, INDEX, NUMBER = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
SIGNATURES = {
    "norm_forward": [POINTER] * 9 + [INDEX] * 5 + [NUMBER] * 2,
    "norm_backward": [POINTER] * 11 + [INDEX] * 5 + [NUMBER],
}

_log = logging.getLogger(__name__)


def has_kernels(x: Tensor) -> bool:
    """Whether operations on ``x`` run C++ kernels: bfloat16, channels last, on a CPU.

    Not while a graph is exported, nor where nothing compiles them.
    """
    return (
        ON
        and x.device.type == "cpu"
        and x.dtype == torch.bfloat16
        and x.is_contiguous(memory_format=torch.channels_last)
        and not launch.is_exporting()
        and available()
    )


def in_bfloat16(x: Tensor) -> bool:
    """Whether a convolution of ``x`` on a CPU is computed so, autocast considered.

    Not while a graph is exported.
    """
    if not ON or x.device.type != "cpu" or launch.is_exporting():
        return False
    autocast = torch.is_autocast_enabled("cpu")
    return (torch.get_autocast_dtype("cpu") if autocast else x.dtype) == torch.bfloat16


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def available() -> bool:
    """Whether the kernels are there; compiles them, the first time."""
    return ON and library() is not None


def library() -> ctypes.CDLL | None:
    """The kernels as functions of C, if they are there."""
    return _made()[0]


def why_missing() -> str | None:
    """Why the kernels are not there, or None."""
    return _made()[1]


@functools.cache
def _made() -> tuple[ctypes.CDLL | None, str | None]:
    if sys.platform != "linux":
        return None, "for Linux only"
    compiler = _compiler()
    if compiler is None:
        return None, "no C++ compiler: install g++"
    try:
        loaded = ctypes.CDLL(str(_compiled(compiler)))
        for name, types in SIGNATURES.items():
            function = getattr(loaded, name)
            function.argtypes, function.restype = types, None
    except (OSError, AttributeError, subprocess.SubprocessError) as error:
        printed = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[0]
        reason = f"{SOURCE.name} could not be compiled with {compiler}: {printed}"
        _log.warning("%s; going on without it", reason)
        return None, reason
    return loaded, None


def _compiler() -> str | None:
    given = os.environ.get("CXX")
    return next(filter(None, map(shutil.which, [given] if given else ["g++", "clang++"])), None)


def _compiled(compiler: str) -> Path:
    made_of = (SOURCE.read_text(), *FLAGS, _said_by(compiler, "--version"), _machine())
    name = hashlib.sha256("\0".join(made_of).encode()).hexdigest()[:16]
    path = cache_folder() / "native" / f"{SOURCE.stem}-{name}.so"
    if not path.exists():  # processes that come at the same time make one each; the last one stays
        with replacing(path) as made:
            _said_by(compiler, *FLAGS, str(SOURCE), "-o", str(made))
    return path


def _said_by(*command: str) -> str:
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=SECONDS
    ).stdout


def _machine() -> str:
    """What the compiler looks at: a home folder may be shared by CPUs that differ."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    flags = [line for line in lines if line.startswith(("flags", "Features"))]
    return platform.machine() + "".join(flags[:1])
