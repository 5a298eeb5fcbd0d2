"""The NVIDIA GPUs of this machine, as their driver reports them."""

import shutil
import subprocess
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """An NVIDIA GPU, as its driver reports it."""

    name: str
    memory_mib: int | None
    """None where the GPU shares the system's memory."""
    driver: str
    compute_capability: str


def nvidia_gpus() -> tuple[Gpu, ...]:
    """All GPUs, in the driver's order; none where there is no driver."""
    if not (command := shutil.which("nvidia-smi")):
        return ()
    query = "--query-gpu=name,memory.total,driver_version,compute_cap"
    try:
        answer = subprocess.run(
            [command, query, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [line.rsplit(", ", 3) for line in answer.stdout.splitlines()]
    return tuple(
        Gpu(
            name=name,
            memory_mib=int(memory) if memory.isdecimal() else None,
            driver=driver,
            compute_capability=capability,
        )
        for name, memory, driver, capability in (row for row in rows if len(row) == 4)
    )
