"""The machine card: what a figure was measured on, and whether two cards are one machine."""

import functools
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cyclegan
from cyclegan.cpu import cpu_cores, cpu_model, instruction_sets
from cyclegan.engine.gpus import nvidia_gpus

Card = Mapping[str, Any]

IDENTITY = ("cpu", "revision", "cores", "instruction_sets", "system", "gpu")
"""What must agree for two cards to be of one kind of machine, whose figures may be compared."""
LIBRARIES = (
    "numpy",
    "torch",
    "triton",
    "openvino",
    "onnxruntime",
    "av",
    "tensorrt",
    "tensorrt-rtx",
)
ROOT = Path(__file__).parent.parent
"""Of the repository."""
RESULTS = ROOT / "bench/results"


def machine() -> dict[str, Any]:
    """Where and with what a figure is measured, as found now."""
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    return {**_lasting(), "load_average": load, "clocks_mhz": clocks(), "cores": cpu_cores()}


def same(one: Card, other: Card) -> bool:
    """Whether both cards are of one kind of machine."""
    return all(one.get(name) == other.get(name) for name in IDENTITY)


def slug(card: Card) -> str:
    """A file's name for this kind of machine, such as ``amd-epyc-25-17-1-2-cores-avx512``."""
    best = next(iter(card["instruction_sets"]), "")
    gpu = "" if not card.get("gpu") else card["gpu"]["name"]
    words = f"{card['cpu']} {card.get('revision') or ''} {card['cores']} cores {best} {gpu}".lower()
    return re.sub(r"[^a-z0-9]+", "-", words).strip("-")


def in_words(card: Card) -> str:
    """A card in one line, for people."""
    sets = ", ".join(card.get("instruction_sets", ())) or "no vector instructions known"
    gpu = f"; {card['gpu']['name']}" if card.get("gpu") else ""
    versions = card.get("versions", {})
    with_what = "".join(f", {name} {version}" for name, version in versions.items() if version)
    return (
        f"{card['cpu']}, {cores_in_words(card)} ({sets}){gpu}; {card['system']}, "
        f"Python {card['python']}{with_what}"
    )


def in_few_words(card: Card) -> str:
    """What tells a card from others at a glance: CPU, cores, and its GPU or best vectors."""
    gpu = card["gpu"]["name"] if card.get("gpu") else ""
    best = gpu or next(iter(card["instruction_sets"]), "")
    return ", ".join(filter(None, [card["cpu"], cores_in_words(card), best]))


def cores_in_words(card: Card) -> str:
    """``1 core``, ``2 cores``."""
    return "1 core" if card["cores"] == 1 else f"{card['cores']} cores"


def clocks() -> dict[str, float | None]:
    """MHz of the fastest core, and of the GPU's multiprocessors and memory, as found now."""
    found = [float(mhz) for mhz in _cpuinfo("cpu MHz")]
    answer = _nvidia_smi("clocks.sm,clocks.mem").split(", ")
    gpu, memory, *_ = [*map(_number, answer), None, None]
    return {"cpu": max(found, default=None), "gpu": gpu, "gpu_memory": memory}


def _number(text: str) -> float | None:
    """None for ``[N/A]`` and the like: not every GPU tells its clocks."""
    try:
        return float(text)
    except ValueError:
        return None


def _revision() -> str | None:
    """Family, model and stepping: virtual machines often give the CPU's name without its number."""
    found = [_cpuinfo(name)[:1] for name in ("cpu family", "model", "stepping")]
    return "-".join(value for (value,) in found) if all(found) else None


def _cpuinfo(name: str) -> list[str]:
    """The values of a line of /proc/cpuinfo, one for each core; empty where there is none."""
    path = Path("/proc/cpuinfo")
    text = path.read_text() if path.exists() else ""
    return re.findall(rf"^{name}\s*:\s*(.+)$", text, re.MULTILINE)


@functools.cache
def _lasting() -> dict[str, Any]:
    return {
        "cpu": cpu_model(),
        "revision": _revision(),
        "instruction_sets": list(instruction_sets()),
        "system": f"{platform.system()} {platform.machine()}",
        "gpu": _gpu(),
        "python": platform.python_version(),
        "cyclegan": cyclegan.__version__,
        "versions": {name: _version(name) for name in LIBRARIES},
        "commit": commit(),
    }


def commit() -> str | None:
    """The commit of the code, with ``-dirty`` where code differs from it; None outside git."""
    code = [".", ":!bench/results", ":!bench/baselines"]
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return head + ("-dirty" if _git("diff", "--name-only", "HEAD", "--", *code) else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _gpu() -> dict[str, str] | None:
    for gpu in nvidia_gpus():
        return {
            "name": gpu.name,
            "driver": gpu.driver,
            "compute_capability": gpu.compute_capability,
        }
    return None


def _nvidia_smi(query: str) -> str:
    """The first GPU's answer; empty where there is no GPU that answers."""
    if not (command := shutil.which("nvidia-smi")):
        return ""
    arguments = [command, f"--query-gpu={query}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return ""
    return next(iter(done.stdout.splitlines()), "")


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
