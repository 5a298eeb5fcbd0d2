"""What the CPU can do, as far as it decides how to run on it."""

import os
import platform
import subprocess
from functools import cache
from pathlib import Path

FLAGS = {
    "AMX": {"amx_bf16", "amx_tile"},
    "AVX512-BF16": {"avx512_bf16"},
    "AVX512": {"avx512f"},
    "AVX2": {"avx2"},
}
"""Instruction sets by the flags of /proc/cpuinfo, from the fastest to the slowest."""


@cache
def cpu_flags() -> frozenset[str]:
    """The CPU's feature flags, as Linux spells them; empty where the system does not tell."""
    text = _cpuinfo()
    line = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")
    return frozenset(line.partition(":")[2].split())


@cache
def cpu_model() -> str:
    """The CPU's name."""
    for line in _cpuinfo().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return platform.processor() or platform.machine()


def cpu_cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def instruction_sets() -> tuple[str, ...]:
    """Names from :data:`FLAGS` that this CPU has."""
    return tuple(name for name, flags in FLAGS.items() if flags <= cpu_flags())


def has_fast_bfloat16() -> bool:
    """Whether arithmetic in bfloat16 is done by the CPU's own instructions."""
    return not {"AMX", "AVX512-BF16"}.isdisjoint(instruction_sets())


@cache
def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""
