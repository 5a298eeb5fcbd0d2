"""Kernels for the CPU at hand: C++ beside this file, compiled when first needed.

Seconds of g++, once: what it makes stays in the user's cache folder, under a name that says what
source, compiler and CPU it was made of. ``$CXX`` names another compiler. Where there is none,
operations are their plain PyTorch references.
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
NORM = [POINTER] * 9 + [INDEX] * 6 + [NUMBER] * 2
NORM_BACKWARD = [POINTER] * 11 + [INDEX] * 6 + [NUMBER]
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
            ("gradient_work", [INDEX] * 3, INDEX),
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

    Not where PyTorch's operators are wanted.
    """
    return (
        ON
        and x.device.type == "cpu"
        and not launch.wants_pytorch_alone()
        and x.is_contiguous(memory_format=torch.channels_last)
    )


def computed_in(x: Tensor) -> torch.dtype | None:
    """What a convolution of ``x`` on a CPU is computed in, autocast considered.

    None on other devices, where PyTorch's operators are wanted, and where nothing of this is used.
    """
    if not ON or x.device.type != "cpu" or launch.wants_pytorch_alone():
        return None
    autocast = torch.is_autocast_enabled("cpu")
    return torch.get_autocast_dtype("cpu") if autocast else x.dtype


@launch.constant_in_graphs
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
        given = os.environ.get("CXX")
        what = f"CXX is {given!r}, and not there" if given else "install g++"
        return None, f"no C++ compiler: {what}"
    try:
        loaded = ctypes.CDLL(str(_compiled(source, compiler)))
    except (OSError, subprocess.SubprocessError) as error:
        said = error.stderr if isinstance(error, subprocess.CalledProcessError) else ""
        lines = [line for line in f"{said}\n{error}".splitlines() if line.strip()]
        # Before errors in headers compilers say by what these are included.
        first = next((line for line in lines if "error" in line.lower()), lines[0])
        return _without(
            f"{source}.cpp could not be compiled with {' '.join(compiler)}: {first.strip()}"
        )
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


def _compiler() -> tuple[str, ...] | None:
    """The program and its first arguments: ``$CXX`` may be ``ccache g++``."""
    given = os.environ.get("CXX", "").strip()
    for command in ([given], given.split()) if given else (["g++"], ["clang++"]):
        if program := shutil.which(command[0]):
            return program, *command[1:]
    return None


def _compiled(source: str, compiler: tuple[str, ...]) -> Path:
    file = FOLDER / f"{source}.cpp"
    texts = [path.read_text(encoding="utf-8") for path in (file, *sorted(FOLDER.glob("*.h")))]
    made_of = (*texts, *FLAGS, *compiler[1:], _said_by(*compiler, "--version"), _machine())
    name = hashlib.sha256("\0".join(made_of).encode()).hexdigest()[:16]
    path = cache_folder() / "native" / f"{source}-{name}.so"
    if not _whole(path):  # processes that come at the same time make one each; the last one stays
        with replacing(path) as made:
            _said_by(*compiler, *FLAGS, str(file), "-o", str(made))
            _seal(made)
    return path


def _seal(path: Path) -> None:
    """Append the SHA-256 of the file: who loads it reads no further than its own tables say."""
    content = path.read_bytes()
    path.write_bytes(content + hashlib.sha256(content).digest())


def _whole(path: Path) -> bool:
    """Whether the file is as it was sealed: one that was cut short would end the process."""
    if not path.exists():
        return False
    content = path.read_bytes()
    size = hashlib.sha256().digest_size
    return hashlib.sha256(content[:-size]).digest() == content[-size:]


def _said_by(*command: str) -> str:
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=True, timeout=SECONDS
    ).stdout


def _machine() -> str:
    """What the compiler looks at: a home folder may be shared by CPUs that differ."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    flags = [line for line in lines if line.startswith(("flags", "Features"))]
    return platform.machine() + "".join(flags[:1])
