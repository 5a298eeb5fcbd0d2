"""What this machine has for translating frames: what ``cyclegan doctor`` shows."""

import importlib.metadata
import importlib.util
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cyclegan
from cyclegan.cpu import cpu_cores, cpu_model, has_fast_bfloat16, instruction_sets
from cyclegan.engine.backend_choice import Choice, choose_backend, cuda_available
from cyclegan.engine.cache import check_cache
from cyclegan.engine.cache_space import limit_bytes
from cyclegan.engine.gpus import Gpu, nvidia_gpus
from cyclegan.engine.runners import BACKENDS
from cyclegan.engine.runners.openvino import shared_core
from cyclegan.errors import UNIMPORTABLE, CycleGANError
from cyclegan.files import cache_folder

if TYPE_CHECKING:
    from rich.console import RenderableType

LIBRARIES = (
    "torch", "triton", "openvino", "onnx", "onnxruntime", "av",
    "tensorrt", "tensorrt-rtx", "pycuda",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All that ``cyclegan doctor`` knows."""

    system: str
    python: str
    cpu: str
    cores: int
    instruction_sets: tuple[str, ...]
    """Those of AMX, AVX512-BF16, AVX512 and AVX2 that the CPU has."""
    cpu_kernels: str | None
    """Whether our kernels for CPUs are there; None without PyTorch, which runs them."""
    gpus: tuple[Gpu, ...]
    gpu_kernels: str | None
    """Whether our kernels for GPUs can be launched; None without a GPU or PyTorch."""
    libraries: dict[str, str | None]
    """Versions; None for what is not installed."""
    ffmpeg: str | None
    """Version of libavcodec inside PyAV."""
    video: dict[str, str]
    """What decodes and encodes videos by default, and what else was found."""
    openvino_devices: tuple[str, ...]
    cache: str
    """The folder and its limit, or why nothing can be kept there."""
    missing: dict[str, str | None]
    """For each backend why it cannot be used, or None."""
    choice: Choice
    advice: tuple[str, ...]
    """What to install for a faster backend."""


def diagnose() -> Diagnosis:
    """Look at this machine. Never raises for something that is missing or cannot be imported."""
    libraries = {name: _version(name) for name in LIBRARIES}
    gpus = nvidia_gpus()
    ffmpeg, video = _video() if libraries["av"] else (None, {})
    return Diagnosis(
        system=f"{platform.system()} {platform.release()} ({platform.machine()})",
        python=platform.python_version(),
        cpu=cpu_model(),
        cores=cpu_cores(),
        instruction_sets=instruction_sets(),
        cpu_kernels=_cpu_kernels() if libraries["torch"] else None,
        gpus=gpus,
        gpu_kernels=_gpu_kernels() if gpus and libraries["torch"] else None,
        libraries=libraries,
        ffmpeg=ffmpeg,
        video=video,
        openvino_devices=_openvino_devices() if libraries["openvino"] else (),
        cache=_cache(),
        missing={name: backend.why_missing() for name, backend in BACKENDS.items()},
        choice=choose_backend(),
        advice=_advice(gpus, libraries),
    )


def render(diagnosis: Diagnosis) -> "RenderableType":
    """The diagnosis as a table for a rich console."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"cyclegan-engine {cyclegan.__version__}", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("system", f"{diagnosis.system}, Python {diagnosis.python}")
    table.add_row("CPU", f"{escape(diagnosis.cpu)}, {diagnosis.cores} cores")
    table.add_row("instructions", ", ".join(diagnosis.instruction_sets) or "none that matter here")
    if diagnosis.cpu_kernels:
        table.add_row("CPU kernels", escape(diagnosis.cpu_kernels))
    for gpu in diagnosis.gpus:
        table.add_row(
            "GPU",
            f"{escape(gpu.name)}, {_memory(gpu)}, compute capability {gpu.compute_capability}, "
            f"driver {gpu.driver}",
        )
    if not diagnosis.gpus:
        table.add_row("GPU", "no NVIDIA GPU")
    if diagnosis.gpu_kernels:
        table.add_row("GPU kernels", escape(diagnosis.gpu_kernels))
    for name, version in diagnosis.libraries.items():
        table.add_row(name, version or "not installed")
    table.add_row("libavcodec", escape(diagnosis.ffmpeg or "not found"))
    for name, found in diagnosis.video.items():
        table.add_row(name, escape(found))
    table.add_row("OpenVINO devices", escape(", ".join(diagnosis.openvino_devices) or "none"))
    table.add_row("cache", escape(diagnosis.cache))
    for name, reason in diagnosis.missing.items():
        table.add_row(f"backend {name}", "ready" if reason is None else f"[yellow]{escape(reason)}")
    table.add_row("auto takes", f"[green]{diagnosis.choice.backend}[/]: {diagnosis.choice.reason}")
    for line in diagnosis.advice:
        table.add_row("faster", escape(line))
    return table


def _advice(gpus: tuple[Gpu, ...], libraries: dict[str, str | None]) -> tuple[str, ...]:
    advice = []
    if gpus and not cuda_available():
        advice.append("there is a GPU that this PyTorch cannot use: install a CUDA build of torch")
    if not gpus and libraries["openvino"] is None:
        advice.append("pip install openvino: the fastest backend on CPUs for most generators")
    if not gpus and libraries["openvino"] is not None:
        first = "" if libraries["onnxruntime"] else "pip install onnxruntime, then "
        advice.append(f"{first}--precision int8: 8-bit convolutions, at least 40 dB to float32")
    if not gpus and not has_fast_bfloat16():
        advice.append(
            "a CPU with AMX or AVX512-BF16 computes in bfloat16, several times as fast as this one"
        )
    return tuple(advice)


def _cpu_kernels() -> str:
    try:
        from cyclegan.kernels import native
    except UNIMPORTABLE as error:
        return f"none: PyTorch cannot be imported: {error}"
    return native.why_missing() or "compiled, for PyTorch"


def _gpu_kernels() -> str:
    try:
        from cyclegan.kernels import launch
    except UNIMPORTABLE as error:
        return f"none: PyTorch cannot be imported: {error}"
    return launch.why_missing() or "Triton's, for PyTorch"


def _cache() -> str:
    try:
        check_cache()
    except CycleGANError as error:
        return str(error)
    return f"{cache_folder()}, kept below {limit_bytes() / 1e9:g} GB"


def _memory(gpu: Gpu) -> str:
    return "memory unknown" if gpu.memory_mib is None else f"{gpu.memory_mib} MiB"


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _openvino_devices() -> tuple[str, ...]:
    try:
        core = shared_core()
        return tuple(
            f"{device} ({core.get_property(device, 'FULL_DEVICE_NAME')})"
            for device in core.available_devices
        )
    except RuntimeError:  # as a broken driver makes it raise
        return ()
    except UNIMPORTABLE as error:
        return (f"none: OpenVINO cannot be imported: {error}",)


def _video() -> tuple[str | None, dict[str, str]]:
    """The version of libavcodec, and what decodes and encodes."""
    try:
        import av
        from av.codec import codecs_available
    except UNIMPORTABLE as error:
        return f"none: PyAV cannot be imported: {error}", {}
    from cyclegan.engine.encoding import ENCODERS
    from cyclegan.engine.hardware import NVENC, why_no_encoder, why_no_nvdec

    on_cpu = [name for name in ENCODERS if name not in NVENC]
    here = [name for name in on_cpu if name in codecs_available]
    gone = [name for name in on_cpu if name not in codecs_available]
    missing = f"; not in this FFmpeg: {', '.join(gone)}" if gone else ""
    nvdec = why_no_nvdec()
    nvenc = {name: why_no_encoder(name) for name in NVENC}
    encodes = "by h264_nvenc for H.264 of 8 bits in 4:2:0, else " if not nvenc[NVENC[0]] else ""
    version = av.library_versions.get("libavcodec")
    return ".".join(map(str, version)) if version else None, {
        "video decoding": "on the CPU, by libavcodec" if nvdec else "by NVDEC, else on the CPU",
        "video encoding": f"{encodes}on the CPU, unless --encoder names another; "
        f"{', '.join(here)}{missing}",
        "colour conversion": "on the GPU for 4:2:0 of 8 and 10 bits, else on the CPU"
        if cuda_available()
        else "on the CPU, by FFmpeg's scaler",
        "NVDEC": nvdec or "opens",
        **{name: reason or "opens" for name, reason in nvenc.items()},
    }
