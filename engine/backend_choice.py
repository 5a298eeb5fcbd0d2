"""Which backend ``auto`` takes on this machine, for one generator."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from cyclegan.config import GeneratorConfig, ResnetConfig
from cyclegan.cpu import has_fast_bfloat16, instruction_sets
from cyclegan.engine.runners import BACKENDS, Precision
from cyclegan.errors import UNIMPORTABLE, BackendError

LEAST_WIDTH = 64
"""Of a residual generator from which our kernels for CPUs overtake OpenVINO."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The backend that ``auto`` takes, and why."""

    backend: str
    reason: str


def choose_backend(
    config: GeneratorConfig | None = None,
    *,
    precision: Precision = "auto",
    needs_onnx: bool = False,
) -> Choice:
    """What ``backend="auto"`` takes here, for a generator of that ``config``.

    ``needs_onnx``: PyTorch cannot run what is asked for. Raises BackendError when nothing can be
    used.
    """
    if not needs_onnx and cuda_available():
        return Choice(backend="torch", reason="PyTorch sees a CUDA GPU")
    if not needs_onnx and _kernels_are_faster(config, precision):
        return Choice(backend="torch", reason="no CUDA GPU; our kernels for CPUs are fastest here")
    if (reason := BACKENDS["openvino"].why_missing()) is None:
        kind = "in bfloat16" if has_fast_bfloat16() else "in float32"
        why = (
            "of what auto takes, this ONNX graph runs on OpenVINO only"
            if needs_onnx
            else "no CUDA GPU; OpenVINO is fastest on CPUs, or our kernels for wide generators"
        )
        return Choice(backend="openvino", reason=f"{why}, {kind}")
    if needs_onnx:
        raise BackendError(f"nothing here can run this ONNX file: {reason}")
    return Choice(backend="torch", reason="no CUDA GPU and no OpenVINO")


def _kernels_are_faster(config: GeneratorConfig | None, precision: Precision) -> bool:
    """Whether PyTorch with kernels of our own overtakes OpenVINO on this CPU.

    Where bfloat16 is AVX512-BF16's and not AMX's, nobody has measured it.
    """
    if precision == "auto":
        precision = "bfloat16" if has_fast_bfloat16() else "float32"
    in_tiles = precision == "bfloat16" and "AMX" in instruction_sets()
    if not (in_tiles or precision == "float32"):
        return False
    if not isinstance(config, ResnetConfig) or config.norm != "instance":
        return False
    if config.width < LEAST_WIDTH or BACKENDS["torch"].why_missing():
        return False
    try:
        from cyclegan.kernels import native  # PyTorch with it, which is to run the generator anyway
    except UNIMPORTABLE:
        return False
    return native.why_missing() is None


def cuda_available() -> bool:
    """Whether PyTorch can use a GPU here; does not import it where there is no NVIDIA driver."""
    if not (Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi")):
        return False
    try:
        import torch
    except UNIMPORTABLE:
        return False
    return torch.cuda.is_available()
