"""A strongly typed ONNX graph -> the bytes of a TensorRT plan.

The builder runs in a thread of its own: it lets other threads go on, reports its steps, and ends
within one step when it is cancelled, by Ctrl-C too.
"""

import contextlib
import logging
import re
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclegan.engine.audit import audit_network, listed
from cyclegan.engine.flavours import TensorRT, messages
from cyclegan.engine.graph_info import INPUT
from cyclegan.engine.plan_settings import PlanSettings, capability_name
from cyclegan.engine.progress import Progress
from cyclegan.engine.typed_graph import NormRoute
from cyclegan.errors import BackendError, ConfigError, OutputError
from cyclegan.files import write_whole

_log = logging.getLogger(__name__)

Current = Callable[[], AbstractContextManager[object]]
"""Within what it gives, a thread uses one GPU."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """A serialised plan."""

    plan: bytes
    layers: dict[str, int]
    """How many layers compute in which type."""


def build_plan(
    tensorrt: TensorRT,
    graph: bytes,
    settings: PlanSettings,
    norm: NormRoute,
    *,
    channels: int,
    timings: Path | None = None,
    progress: Progress | None = None,
    current: Current = contextlib.nullcontext,
) -> Built:
    """Build ``graph``, a serialised ONNX model as :func:`typed_graph` makes it.

    ``current`` is of the GPU to build on, the first by default; ``timings`` is the file of the
    timing cache, for the full flavour. Raises BackendError when the parser or the builder refuses
    the graph, or types are not those asked for; ConfigError for a target that this TensorRT does
    not know; and what ``progress`` raises.
    """
    trt, log = tensorrt.trt, messages(tensorrt)
    with log.errors() as errors, current():
        builder = trt.Builder(log.logger)
        network = builder.create_network(_creation_flags(trt))
        _parse(trt, network, log.logger, graph)
        layers = audit_network(network, settings.precision, norm)
        config = builder.create_builder_config()
        _configure(tensorrt, config, settings)
        _add_profile(builder, config, settings, channels)
        monitor = _monitor(trt, progress)
        config.progress_monitor = monitor

        def build() -> Any:
            with current():
                return builder.build_serialized_network(network, config)

        with _timing_cache(tensorrt, config, timings if settings.timing_cache else None):
            plan = _in_thread(build, monitor)
    if monitor.error is not None:
        raise monitor.error
    if plan is None:
        raise BackendError(f"TensorRT cannot build the plan: {_reason(errors, settings)}")
    return Built(plan=bytes(plan), layers=layers)


def _creation_flags(trt: Any) -> int:
    """Strong typing: a flag in version 10, the only way since 11, where the flag remains."""
    return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def _parse(trt: Any, network: Any, logger: Any, graph: bytes) -> None:
    parser = trt.OnnxParser(network, logger)
    if parser.parse(graph):
        return
    errors = [parser.get_error(i) for i in range(parser.num_errors)]
    lines = [f"node {e.node_name() or e.node()} ({e.node_operator()}): {e.desc()}" for e in errors]
    raise BackendError(f"TensorRT's parser refuses the graph: {listed(lines)}")


def _configure(tensorrt: TensorRT, config: Any, settings: PlanSettings) -> None:
    trt = tensorrt.trt
    config.builder_optimization_level = settings.optimization_level
    config.tiling_optimization_level = trt.TilingOptimizationLevel.__members__[
        settings.tiling.upper()
    ]
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # the audit reads it
    if settings.max_aux_streams is not None:
        config.max_aux_streams = settings.max_aux_streams
    if settings.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace_mib << 20)
    if settings.refit:
        config.set_flag(trt.BuilderFlag.REFIT)
    if settings.targets:
        _set_targets(tensorrt, config, settings.targets)


def _set_targets(tensorrt: TensorRT, config: Any, targets: tuple[str, ...]) -> None:
    if not tensorrt.is_rtx:
        raise ConfigError(
            f"targets {', '.join(targets)}: the full TensorRT builds for the GPU of this machine "
            "alone; leave --target out, or build with the flavour tensorrt-rtx"
        )
    known = tensorrt.trt.ComputeCapability.__members__
    config.num_compute_capabilities = len(targets)
    for position, target in enumerate(targets):
        name = capability_name(target)
        if name not in known:
            able = [f"{sm[2:-1]}.{sm[-1]}" for sm in known if sm.startswith("SM")]
            raise ConfigError(
                f"target {target}: {tensorrt.flavour} {tensorrt.version} builds for "
                f"{', '.join(able)}; for other GPUs use the full TensorRT on such a machine"
            )
        config.set_compute_capability(known[name], position)


def _add_profile(builder: Any, config: Any, settings: PlanSettings, channels: int) -> None:
    profile = builder.create_optimization_profile()
    profile.set_shape(INPUT, *((*shape, channels) for shape in settings.profile))
    if config.add_optimization_profile(profile) < 0:
        raise ConfigError(f"TensorRT refuses the profile {settings.profile}")


@contextlib.contextmanager
def _timing_cache(tensorrt: TensorRT, config: Any, path: Path | None) -> Any:
    """Kernel timings from ``path``, and back to it. The RTX flavour times when it loads."""
    if tensorrt.is_rtx or path is None:
        yield
        return
    _take_timings(config, path)
    yield
    cache = config.get_timing_cache()
    try:
        write_whole(path, bytes(cache.serialize()))
    except OutputError as error:  # the plan is worth more than a faster build of the next
        _log.warning("the kernel timings were not kept: %s", error)


def _take_timings(config: Any, path: Path) -> None:
    """Those of ``path``, or none: TensorRT refuses what is damaged, or of other hardware."""
    known = b""
    with contextlib.suppress(OSError):  # there are none yet, or they cannot be read
        known = path.read_bytes()
    for content in dict.fromkeys((known, b"")):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, False):
            return
        _log.info("TensorRT does not take the kernel timings in %s; they are measured anew", path)


def _monitor(trt: Any, progress: Progress | None) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Counts the steps of all phases, and ends the build when told to."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.stop = threading.Event()
            self.error: BaseException | None = None
            self._done = self._announced = 0

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            self._announced += steps

        def step_complete(self, name: str, step: int) -> bool:
            self._done += 1
            try:
                if progress is not None and self.error is None:
                    progress(self._done, self._announced)
            except BaseException as error:  # TensorRT's C++ cannot carry it: it is raised after
                self.error = error
                self.stop.set()
            return not self.stop.is_set()

        def phase_finish(self, name: str) -> None:
            pass

    return Monitor()


def _in_thread(build: Callable[[], Any], monitor: Any) -> Any:
    """``build()`` in a thread, so that Ctrl-C reaches this one, which then cancels it.

    An executor would lose its thread where Ctrl-C comes while that is being started.
    """
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(build())
        except BaseException as error:
            future.set_exception(error)

    thread = threading.Thread(target=run, name="build plan")
    try:
        thread.start()
        return future.result()
    except BaseException:
        monitor.stop.set()
        raise
    finally:
        if thread.is_alive():
            thread.join()


_HINTS = {
    "cudaError 35": "there is no NVIDIA driver here, or it is too old for this TensorRT",
    "deconv: .*bf16": "this TensorRT has no transposed convolution in bfloat16; use "
    "float16, or a generator whose upsampling is resize",
    "workspace limit": "--workspace-mib is too small: raise it, or leave it out",
    "[Mm]emory": "the memory here is too small for this profile: lower its max, or --workspace-mib",
}
"""What helps, by a pattern of what TensorRT says."""


def _reason(errors: list[str], settings: PlanSettings) -> str:
    text = listed(errors) or "it gave no reason"
    if settings.refit:
        text += "; a plan that can be refitted needs a GPU and its driver while it is built"
    return "; ".join([text, *(hint for sign, hint in _HINTS.items() if re.search(sign, text))])
