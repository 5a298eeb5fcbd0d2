"""Kernels for the CPU at hand: C++ beside this file, compiled when first needed.

Seconds of g++, once: what it makes stays in the user's cache folder, under a name that says what
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
from typing import Any

import torch
from torch import Tensor

from cyclegan.files import CACHE_VARIABLE, cache_folder, replacing
from cyclegan.kernels import launch

FOLDER = Path(__file__).parent
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared")
"""OpenMP's threads are PyTorch's own: it has brought the library that they come from."""
SECONDS = 120
"""A compiler that takes longer hangs."""

ON = sys.platform == "linux"
"""Elsewhere, and where a benchmark says so, nothing of this is used."""

POINTER, INDEX, NUMBER = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
NORM = [POINTER] * 9 + [INDEX] * 5 + [NUMBER] * 2
NORM_BACKWARD = [POINTER] * 11 + [INDEX] * 5 + [NUMBER]
PACK, CONVOLVE, DIFFERENTIATE = (
    [POINTER] * pointers + [INDEX] * numbers for pointers, numbers in ((2, 3), (4, 7), (4, 6))
)
SIGNATURES: dict[str, dict[str, tuple[list[Any], Any]]] = {
    "instance_norm_cpu": {
        f"norm_{direction}_{kind}": (takes, None)
        for kind in ("bfloat16", "float32")
        for direction, takes in (("forward", NORM), ("backward", NORM_BACKWARD))
    },
    "winograd_cpu": {
        f"winograd_{function}_{kind}": (takes, gives)
        for kind in ("float32_2", "float32_4", "bfloat16_2")
        for function, takes, gives in (
            ("pack", PACK, None),
            ("pack_turned", PACK, None),
            ("work", [INDEX], INDEX),
            ("convolve", CONVOLVE, None),
            ("gradient_work", [INDEX] * 2, INDEX),
            ("gradient", DIFFERENTIATE, None),
        )
    },
}
"""Of the functions of each source file. One for instructions that this CPU lacks is not there, nor
are gradients of squares of four."""

DTYPES = (torch.bfloat16, torch.float32)

_log = logging.getLogger(__name__)


def has_norm_kernels(x: Tensor) -> bool:
    """Whether an instance norm of ``x`` runs a C++ kernel."""
    return x.dtype in DTYPES and may_run(x) and available("instance_norm_cpu")


def may_run(x: Tensor) -> bool:
    """Whether ``x`` may be given to C++ kernels, being channels last, on a CPU.

    Not while a graph is exported.
    """
    return (
        ON
        and x.device.type == "cpu"
        and x.is_contiguous(memory_format=torch.channels_last)
        and not launch.is_exporting()
    )


def computed_in(x: Tensor) -> torch.dtype | None:
    """What a convolution of ``x`` on a CPU is computed in, autocast considered.

    None on other devices, while a graph is exported, and where nothing of this is used.
    """
    if not ON or x.device.type != "cpu" or launch.is_exporting():
        return None
    autocast = torch.is_autocast_enabled("cpu")
    return torch.get_autocast_dtype("cpu") if autocast else x.dtype


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def available(source: str) -> bool:
    """Whether the kernels of that file are there; compiles them, the first time."""
    return ON and library(source) is not None


def library(source: str) -> ctypes.CDLL | None:
    """The kernels of that file as functions of C, if they are there."""
    return _made(source)[0]


def why_missing() -> str | None:
    """Why kernels are not there, or None."""
    return next(filter(None, (_made(source)[1] for source in SIGNATURES)), None)


@functools.cache
def _made(source: str) -> tuple[ctypes.CDLL | None, str | None]:
    if sys.platform != "linux":
        return None, "for Linux only"
    compiler = _compiler()
    if compiler is None:
        return None, "no C++ compiler: install g++"
    try:
        loaded = ctypes.CDLL(str(_compiled(source, compiler)))
    except (OSError, subprocess.SubprocessError) as error:
        printed = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[0]
        return _without(f"{source}.cpp could not be compiled with {compiler}: {printed}")
    except ModuleNotFoundError as error:  # where little besides PyTorch is installed
        return _without(
            f"{error.name}, which says where caches are, is missing: install it, or set "
            f"{CACHE_VARIABLE} to a folder for what is compiled"
        )
    for name, (takes, gives) in SIGNATURES[source].items():
        if function := getattr(loaded, name, None):
            function.argtypes, function.restype = takes, gives
    return loaded, None


def _without(reason: str) -> tuple[None, str]:
    _log.warning("%s; going on without it", reason)
    return None, reason


def _compiler() -> str | None:
    given = os.environ.get("CXX")
    return next(filter(None, map(shutil.which, [given] if given else ["g++", "clang++"])), None)


def _compiled(source: str, compiler: str) -> Path:
    file = FOLDER / f"{source}.cpp"
    texts = [path.read_text() for path in (file, *sorted(FOLDER.glob("*.h")))]
    made_of = (*texts, *FLAGS, _said_by(compiler, "--version"), _machine())
    name = hashlib.sha256("\0".join(made_of).encode()).hexdigest()[:16]
    path = cache_folder() / "native" / f"{source}-{name}.so"
    if not path.exists():  # processes that come at the same time make one each; the last one stays
        with replacing(path) as made:
            _said_by(compiler, *FLAGS, str(file), "-o", str(made))
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
