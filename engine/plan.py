"""A frame-to-frame ONNX graph -> a TensorRT plan: built once, checked, and used again.

The way of a plan: the graph is typed (:mod:`typed_graph`), built and its types audited
(:mod:`plan_builder`), its pictures are compared with float32 (:mod:`gate`), and plan and note go to
the cache under a key of everything that shapes them (:mod:`cache`). A plan that was asked for at a
path of the user's is a copy of that entry.
"""

import contextlib
import dataclasses
import functools
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import cyclegan
from cyclegan.engine import gate
from cyclegan.engine.cache import Key, cached, check_unchanged, code_digest, file_digest
from cyclegan.engine.cuda import FIRST, open_cuda, why_missing
from cyclegan.engine.flavours import TensorRT, load_tensorrt
from cyclegan.engine.frames import Frames
from cyclegan.engine.gpus import Gpu, nvidia_gpus
from cyclegan.engine.graph_info import INPUT, OUTPUT, GraphInfo, read_graph_info
from cyclegan.engine.plan_builder import Built, Current, build_plan
from cyclegan.engine.plan_file import PLAN_FORMAT, PlanFile, check_plan_target, copy_plan, read_plan
from cyclegan.engine.plan_settings import PlanSettings, check_sides
from cyclegan.engine.progress import Progress
from cyclegan.engine.real_frames import PICTURE, built_in_frames
from cyclegan.engine.typed_graph import NormRoute, typed_graph
from cyclegan.errors import BackendError, ConfigError
from cyclegan.files import cache_folder

NAME = "model.plan"
_SHAPING = (
    "typed_graph.py",
    "plan_builder.py",
    "rounding.py",
    "gate.py",
    "real_frames.py",
    "graph_info.py",
)

Execute = Callable[[bytes, GraphInfo, Sequence[Frames]], tuple[list[Frames], float]]
"""Runs a plan on this machine's GPU: (translated frames, milliseconds of a batch)."""


def plan_from_onnx(
    onnx: str | Path,
    path: str | Path | None = None,
    *,
    settings: PlanSettings,
    frames: Frames | None = None,
    progress: Progress | None = None,
    device: str | None = None,
) -> PlanFile:
    """The plan of the float32 frame-to-frame graph ``onnx``, from the cache if it is there.

    ``path`` is where a copy of the plan and its note go; without it they stay in the cache.
    ``frames``, uint8 (N, H, W, C), replace the built-in ones of the check; H and W are multiples of
    what the generator takes. ``progress(done, announced)`` is called at every step of a build, and
    cancels it by raising; while another process builds the plan it is (0, None), again and again.
    ``device``, such as ``cuda:1``, is the GPU that it is checked on, and built for where
    ``settings`` name no targets; None: CUDA's first, or without PyCUDA the first of nvidia-smi.

    Raises OutputError where ``path`` is the graph itself or not named as a plan; ModelError for
    another kind of graph, ConfigError for settings that contradict it or the ``frames``,
    BackendError when TensorRT is missing or refuses it, when the types are not those asked for, or
    when the pictures are too far from float32; OutputError when nothing can be written.
    """
    onnx = Path(onnx)
    if path is not None:
        check_plan_target(onnx, Path(path))
    if frames is not None and not settings.check:
        raise ConfigError(
            "pictures are given to be compared, and no check is asked for: leave out the pictures "
            "(--pictures), or check=False (--no-check)"
        )
    info = read_graph_info(onnx)
    settings.profile.check_sides(info.config.size_multiple)
    if frames is not None:
        _check_frames(frames, info)
    if device is None and not why_missing():
        # CUDA counts in an order of its own, and sees those of CUDA_VISIBLE_DEVICES alone.
        device = FIRST
    tensorrt, gpu = load_tensorrt(settings.flavour), _gpu(device)
    if tensorrt.is_rtx and gpu is not None and not settings.targets:
        settings = dataclasses.replace(settings, targets=(gpu.compute_capability,))
    job = _Job(
        onnx=onnx,
        info=info,
        settings=settings,
        tensorrt=tensorrt,
        gpu=gpu,
        device=device,
        frames=frames,
        progress=progress,
    )
    waiting = None if progress is None else functools.partial(progress, 0, None)
    plan = read_plan(cached(NAME, job.key(), job.build, waiting))
    return plan if path is None else copy_plan(plan, Path(path))


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One plan to be made."""

    onnx: Path
    info: GraphInfo
    settings: PlanSettings
    tensorrt: TensorRT
    gpu: Gpu | None
    device: str | None
    frames: Frames | None
    progress: Progress | None

    def key(self) -> Key:
        """Everything that shapes the plan. Raises BackendError where there is nothing to build for.

        A plan for named targets does not depend on the GPU and the driver of this machine, but for
        whether it is run there to be checked: one that never was is built again where it can be.
        """
        gpu = None if self.settings.targets else self.gpu
        if gpu is None and not self.settings.targets:
            raise BackendError(
                "there is no NVIDIA GPU here to build for; name what the plan is for, as in "
                "--target 8.9 (with tensorrt-rtx), or build on the machine that will run it"
            )
        frames = None if self.frames is None else _frames_digest(self.frames)
        return {
            "onnx": self._digest,
            "format": PLAN_FORMAT,
            "cyclegan": cyclegan.__version__,
            "code": _code_digest(),
            "flavour": self.tensorrt.flavour,
            "version": self.tensorrt.version,
            "package": self.tensorrt.package,
            "gpu": gpu.name if gpu else None,
            "compute_capability": gpu.compute_capability if gpu else None,
            "driver": gpu.driver if gpu else None,
            "frames": frames,
            "run": self.settings.check and self._executes() is not None,
            **self.settings.as_key(),
        }

    @functools.cached_property
    def _digest(self) -> str:
        return file_digest(self.onnx)

    def build(self, path: Path) -> Mapping[str, Any]:
        """Write the plan to ``path``; returns the facts of its note."""
        started = time.monotonic()
        check, (built, info) = gate.choose(gate.routes(self.settings), self._attempt, self.settings)
        check_unchanged(self.onnx, self._digest)
        path.write_bytes(built.plan)
        channels = self.info.config
        return {
            "graph": info.to_metadata(),
            "norm": check.norm,
            "layers": built.layers,
            "inputs": [_port(INPUT, channels.in_channels)],
            "outputs": [_port(OUTPUT, channels.out_channels)],
            "bytes": len(built.plan),
            "seconds": round(time.monotonic() - started, 2),
            "check": asdict(check),
        }

    def _attempt(self, norm: NormRoute) -> gate.Attempt:
        typed = typed_graph(self.onnx, self.settings.precision, norm)
        with self._building_on() as current:
            built = build_plan(
                self.tensorrt,
                typed.SerializeToString(),
                self.settings,
                norm,
                channels=self.info.config.in_channels,
                timings=self._timings(),
                progress=self.progress,
                current=current,
            )
        metadata = {item.key: item.value for item in typed.metadata_props}
        made = (built, GraphInfo.from_metadata(metadata, self.onnx))
        return self._checked(typed, built, norm), made

    @contextlib.contextmanager
    def _building_on(self) -> Iterator[Current]:
        """The GPU of ``device``, for the flavour that builds on one."""
        if self.device is None or self.tensorrt.is_rtx:
            yield contextlib.nullcontext
            return
        cuda = open_cuda(self.device)
        try:
            yield cuda.current
        finally:
            cuda.close()

    def _checked(self, typed: Any, built: Built, norm: NormRoute) -> gate.Check:
        if not self.settings.check:
            return gate.Check(how=gate.UNCHECKED, norm=norm)
        frames = self.frames
        if frames is None:
            config = self.info.config
            frames = built_in_frames(config.in_channels, config.size_multiple)
        if (execute := self._executes()) is None:
            return gate.check_on_cpu(self.onnx, typed, norm, self.settings.precision, frames)
        return gate.check_engine(
            self.onnx, execute, built.plan, self.info, self.settings, norm, frames
        )

    def _executes(self) -> Execute | None:
        """What runs a plan here, or None where this machine cannot run the target's."""
        from cyclegan.engine.runners import tensorrt as runner

        if self.gpu is None or runner.why_missing() is not None:
            return None
        if self.settings.targets and self.gpu.compute_capability not in self.settings.targets:
            return None
        return functools.partial(runner.run_batches, self.tensorrt, device=self.device)

    def _timings(self) -> Path:
        gpu = self.gpu.name.replace(" ", "-") if self.gpu else "none"
        name = f"{self.tensorrt.flavour}-{self.tensorrt.version}-{gpu}.timings"
        return cache_folder() / "timings" / name


def _check_frames(frames: Frames, info: GraphInfo) -> None:
    """Raises ConfigError unless the generator takes ``frames`` as they are."""
    channels = info.config.in_channels
    shaped = frames.ndim == 4 and frames.shape[3] == channels and frames.size
    if not shaped or frames.dtype != np.uint8:
        raise ConfigError(
            f"the frames to be compared are {frames.dtype} of shape {frames.shape}; expected uint8 "
            f"(N, H, W, {channels}), none empty"
        )
    _, height, width, _ = frames.shape
    check_sides((height, width), info.config.size_multiple, "in the frames to be compared")


def _gpu(device: str | None) -> Gpu | None:
    """The GPU of that name, or the first of nvidia-smi; None where there is none."""
    listed = nvidia_gpus()
    if device is None:
        return next(iter(listed), None)
    cuda = open_cuda(device)
    cuda.close()
    # The driver is one for all; plans have its version as nvidia-smi says it, however it is asked.
    return dataclasses.replace(cuda.gpu, driver=listed[0].driver) if listed else cuda.gpu


def _frames_digest(frames: Frames) -> str:
    """SHA-256 of shape and content: the same bytes are other pictures in another shape."""
    return hashlib.sha256(str(frames.shape).encode() + frames.tobytes()).hexdigest()


def _port(name: str, channels: int) -> dict[str, Any]:
    return {"name": name, "dtype": "uint8", "shape": ["N", "H", "W", channels]}


@functools.cache
def _code_digest() -> str:
    """Of what shapes a plan: code, and the frames that choose between the routes of its norms."""
    return code_digest(*(Path(__file__).with_name(name) for name in _SHAPING), PICTURE)
