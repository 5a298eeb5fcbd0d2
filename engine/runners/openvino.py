"""Inference on CPUs (and Intel GPUs) with OpenVINO: asynchronous requests, one a slot.

With a known frame size the graph is fixed to it; otherwise one compiled model takes every size. In
int8 the graph has 8-bit convolutions (:mod:`cyclegan.engine.int8`), and what remains is as in auto.
"""

import contextlib
import functools
import importlib.util
import io
import platform
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from cyclegan.engine.cache import cached, check_unchanged, file_digest
from cyclegan.engine.frames import Frames
from cyclegan.engine.model_source import Source
from cyclegan.engine.once import once
from cyclegan.engine.runners.settings import Precision, Settings
from cyclegan.errors import UNIMPORTABLE, BackendError, ConfigError

SLOTS = 2
"""One batch runs while the next waits behind it, so that the cores never idle between two."""
_MOST_KERNELS = 500
"""Kept for sizes that were seen before: enough for a few that take turns. OpenVINO would keep ten
times as many, which pictures of ever new sizes fill with gigabytes."""
_HINTS: dict[Precision, str] = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


@functools.cache
def openvino_module() -> ModuleType:
    """OpenVINO, imported without its telemetry.

    With it, each import tells an analytics service, from a process that it forks for that in a
    thread, and leaves a folder in the user's home: nothing that a program which only translates
    pictures, or one that embeds it, has asked for. Whoever imports OpenVINO before decides himself.
    """
    name = "openvino_telemetry"
    if name in sys.modules:
        import openvino
    else:
        sys.modules[name] = cast(ModuleType, None)  # what cannot be imported; OpenVINO does without
        try:
            import openvino
        finally:
            sys.modules.pop(name, None)
    return cast(ModuleType, openvino)


@once
def shared_core() -> Any:
    """The one ``openvino.Core`` of this process.

    A core gives the thread that loads it a stack for signals and takes it away when it goes. Of
    several cores, the last to go can leave a stack that is gone already, and then the next signal,
    such as Ctrl-C, ends in a segmentation fault (seen with OpenVINO 2026.4).
    """
    core = openvino_module().Core()
    with contextlib.suppress(RuntimeError):  # what is not there, or known no more, bounds nothing
        core.set_property("CPU", {"CPU_RUNTIME_CACHE_CAPACITY": _MOST_KERNELS})
    return core


def why_missing() -> str | None:
    """Why this backend cannot be used here, or None."""
    if importlib.util.find_spec("openvino") is None:
        return "OpenVINO is not installed; pip install openvino"
    try:
        openvino_module()
    except UNIMPORTABLE as error:
        return f"OpenVINO cannot be imported: {error}"
    return None


def open_runner(source: Source, settings: Settings) -> "OpenVINORunner":
    """A runner with ``source`` compiled, from the cache where it was compiled before."""
    core = shared_core()
    device = (settings.device or "CPU").upper()  # as OpenVINO writes the names of all devices
    try:
        hints = _hints(core, device, settings)
    except RuntimeError as error:
        raise BackendError(f"OpenVINO cannot use {device}: {error}") from error
    onnx = _graph(source, settings)
    try:
        compiled = _compiled(core, source, settings, onnx, device, hints)
    except (RuntimeError, ValueError) as error:
        raise BackendError(f"OpenVINO cannot run {source.name} on {device}: {error}") from error
    eight = "int8" in (settings.precision, source.info.precision)
    return OpenVINORunner(compiled, "int8" if eight else hints["INFERENCE_PRECISION_HINT"])


class OpenVINORunner:
    """A compiled model and its requests."""

    slots = SLOTS
    max_batch = 1
    """On a CPU larger batches gain nothing, and every frame of a batch waits for the last."""

    def __init__(self, compiled: Any, precision: str) -> None:
        self._tensor = openvino_module().Tensor
        self._requests = [compiled.create_infer_request() for _ in range(self.slots)]
        self._inputs: list[Frames | None] = [None] * self.slots
        self.description = f"OpenVINO, {precision}"

    def begin(self, slot: int, frames: Frames) -> None:
        request = self._requests[slot]
        # Idle already, unless a stop came between a start and its end. After a batch that failed
        # every wait raises its error again, until the next start; ``finish`` has told it.
        with contextlib.suppress(RuntimeError):
            request.wait()
        # A copy of our own, shared with OpenVINO, which reads it after this call returns.
        self._inputs[slot] = frames.copy()
        try:
            request.set_input_tensor(self._tensor(self._inputs[slot], shared_memory=True))
            request.start_async()
        except RuntimeError as error:
            raise BackendError(f"OpenVINO cannot begin a batch: {error}") from error

    def finish(self, slot: int) -> Frames:
        request = self._requests[slot]
        try:
            request.wait()
            frames: Frames = request.get_output_tensor().data.copy()
        except RuntimeError as error:
            raise BackendError(f"OpenVINO failed on a batch: {error}") from error
        return frames

    def close(self) -> None:
        self._requests.clear()


def _hints(core: Any, device: str, settings: Settings) -> dict[str, str]:
    """Settings for the best throughput of one batch at a time."""
    able = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
    precision = settings.precision
    if precision == "int8" and settings.depth == 16:
        raise ConfigError("int8 is for frames of 8 bits: use --depth 8, or another precision")
    if precision == "auto" and settings.depth == 16:
        precision = "float32"
    elif precision == "auto" or (precision == "int8" and "INT8" in able):
        precision = next((p for p in ("bfloat16", "float16") if _ABLE[p] in able), "float32")
    elif precision != "float32" and _ABLE[precision] not in able:
        raise ConfigError(
            f"precision {precision} is not among what {device} computes in ({', '.join(able)}); "
            "use auto or float32"
        )
    return {"INFERENCE_PRECISION_HINT": _HINTS[precision], "PERFORMANCE_HINT": "LATENCY"}


_ABLE = {"bfloat16": "BF16", "float16": "FP16", "int8": "INT8"}


def _graph(source: Source, settings: Settings) -> Path:
    onnx = source.onnx(settings.depth)
    if settings.precision == "int8" != source.info.precision:
        from cyclegan.engine.int8 import int8_graph

        return int8_graph(onnx)
    return onnx


def _compiled(
    core: Any, source: Source, settings: Settings, onnx: Path, device: str, hints: dict[str, str]
) -> Any:
    def build(path: Path) -> None:
        model = core.read_model(onnx)
        check_unchanged(onnx, key["onnx"])
        if settings.size is not None:
            model.reshape([1, *settings.size, source.info.config.in_channels])
        path.write_bytes(core.compile_model(model, device, hints).export_model().getvalue())

    if "EXPORT_IMPORT" not in core.get_property(device, "OPTIMIZATION_CAPABILITIES"):
        return core.compile_model(core.read_model(onnx), device, hints)
    key = {
        "onnx": file_digest(onnx),
        "openvino": openvino_module().get_version(),
        "device": device,
        "device_name": core.get_property(device, "FULL_DEVICE_NAME"),
        "capabilities": " ".join(core.get_property(device, "OPTIMIZATION_CAPABILITIES")),
        "machine": platform.machine(),
        "size": str(settings.size),
        **hints,
    }
    blob = cached("openvino.blob", key, build).read_bytes()
    return core.import_model(io.BytesIO(blob), device, hints)
