"""Inference with TensorRT on an NVIDIA GPU, without PyTorch: a plan, run from NumPy.

N batch, H height, W width, C channels. Slots (:mod:`tensorrt_slot`) overlap, so that copies hide
behind the network. What makes the CUDA calls is :mod:`cyclegan.engine.cuda`. Plans are built by
:mod:`cyclegan.engine.plan`.
"""

import functools
import importlib.util
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclegan.engine import cuda as cuda_driver
from cyclegan.engine import flavours
from cyclegan.engine.audit import audit_engine
from cyclegan.engine.cuda import FIRST, Cuda, open_cuda
from cyclegan.engine.device_arrays import DeviceFrames, DeviceView, device_view
from cyclegan.engine.flavours import TensorRT, load_tensorrt, messages
from cyclegan.engine.frames import Frames
from cyclegan.engine.graph_info import GraphInfo
from cyclegan.engine.model_source import Source
from cyclegan.engine.plan_file import PlanFile
from cyclegan.engine.plan_settings import PlanSettings, Profile
from cyclegan.engine.runners.kernel_cache import Contexts
from cyclegan.engine.runners.settings import Settings
from cyclegan.engine.runners.tensorrt_slot import Slot
from cyclegan.errors import BackendError, ConfigError, FrameError
from cyclegan.files import cache_folder

if TYPE_CHECKING:
    from cyclegan.engine.planes import Planes
    from cyclegan.engine.runners.plane_slots import PlaneSlots

SLOTS = 3
"""One batch is copied in, one computed, one copied out."""
BATCH = 8
"""Small frames in one batch, to fill the GPU."""
BATCH_PIXELS = BATCH * 256 * 256
"""Pixels beyond which larger batches would take memory and gain nothing."""
ANY_SIZE = ((1, 64, 64), (1, 256, 256), (1, 1920, 1920))
"""Of plans that are built for a translator whose size is not known, in batch, height, width: those
of videos up to 1080p, upright ones too."""


def why_missing() -> str | None:
    """Why this backend cannot be used here, or None."""
    return cuda_driver.why_missing() or flavours.why_missing()


def open_runner(source: Source, settings: Settings) -> "TensorRTRunner":
    """A runner with the plan of ``source``, from the cache or built now."""
    plan = source.plan
    if plan is None:
        from cyclegan.engine.plan import plan_from_onnx

        plan = plan_from_onnx(
            source.onnx(),
            settings=plan_settings(source.info, settings),
            progress=functools.partial(_stop_unwanted, settings),
            device=settings.device or FIRST,  # which nvidia-smi may call another one
        )
    return runner_of(plan, settings)


def runner_of(plan: PlanFile, settings: Settings) -> "TensorRTRunner":
    """A runner of a plan that exists. Raises ModelError, BackendError, ConfigError."""
    if settings.precision not in ("auto", plan.note.key["precision"]):
        raise ConfigError(
            f"{plan.path} computes in {plan.note.key['precision']}, not in {settings.precision}"
        )
    tensorrt = load_tensorrt(plan.flavour)
    cuda = open_cuda(settings.device)
    try:
        if reason := plan.why_unusable(tensorrt, cuda.gpu):
            raise BackendError(f"{plan.path} cannot run here: {reason}")
        engine = deserialised(tensorrt, plan.verified(), cuda)
        _audit(tensorrt, engine, plan.note.key["precision"])
        name = f"{plan.note.sha256[:32]}-{cuda.gpu.name}".replace(" ", "-")
        kernels = cache_folder() / "kernels" / f"{name}.bin"
        return TensorRTRunner(tensorrt, cuda, engine, plan.info, plan.profile, kernels)
    except BaseException:
        cuda.close()
        raise


def plan_settings(info: GraphInfo, settings: Settings) -> PlanSettings:
    """What to build for a translator that was opened with ``settings``. Raises ConfigError."""
    if settings.size is not None:
        height, width = settings.size
        batch = min(BATCH, max(1, BATCH_PIXELS // (height * width)))
        profile = Profile.of(height, width, batch=batch)
    else:
        multiple = info.config.size_multiple
        shapes = [(n, *(-(-side // multiple) * multiple for side in hw)) for n, *hw in ANY_SIZE]
        least, best, most = shapes
        profile = Profile(least=least, best=best, most=most)  # type: ignore[arg-type]
    if settings.precision == "int8":
        raise ConfigError("TensorRT's plans are not built in int8; OpenVINO's engines are")
    precision = "float16" if settings.precision == "auto" else settings.precision
    return PlanSettings(profile=profile, precision=precision)


def _stop_unwanted(settings: Settings, done: int, announced: int | None) -> None:
    if settings.unwanted is not None and settings.unwanted.is_set():
        raise BackendError("the build was cancelled: its result is no longer wanted")


def run_batches(
    tensorrt: TensorRT,
    plan: bytes,
    info: GraphInfo,
    batches: Sequence[Frames],
    repeats: int = 20,
    device: str | None = None,
) -> tuple[list[Frames], float]:
    """Load ``plan`` on ``device`` and run it on uint8 (N, H, W, C) of one shape; what it makes of
    each, and the milliseconds of a batch."""
    cuda = open_cuda(device)
    try:
        engine = deserialised(tensorrt, plan, cuda)
        batch, height, width, _ = batches[0].shape
        profile = Profile.of(height, width, batch=batch)
        runner = TensorRTRunner(tensorrt, cuda, engine, info, profile)
    except BaseException:
        cuda.close()
        raise

    def run(frames: Frames) -> Frames:
        runner.begin(0, frames)
        return runner.finish(0)

    try:
        made = [run(frames) for frames in batches]
        times = []
        for _ in range(repeats):
            started = time.perf_counter()
            run(batches[0])
            times.append(time.perf_counter() - started)
        return made, 1000 * sorted(times)[repeats // 2]
    finally:
        runner.close()


def deserialised(tensorrt: TensorRT, plan: bytes, cuda: Cuda) -> Any:
    """The engine of ``plan`` on this GPU. Raises BackendError with what TensorRT says."""
    log = messages(tensorrt)
    with log.errors() as errors, cuda.current():
        runtime = tensorrt.trt.Runtime(log.logger)
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            validity = _validity(tensorrt.trt, runtime, plan)
    if engine is None:
        raise BackendError(
            f"TensorRT does not load the plan: {'; '.join([*validity, *errors]) or 'no reason'}"
        )
    return engine


_REMEDIES = {
    "VERSION_MISMATCH": "it was built by another TensorRT; build it again",
    "UNSUPPORTED_CC": "it was built for another GPU; build it with this one's --target",
    "OLD_CUDA_DRIVER": "the NVIDIA driver is too old for it; install a newer one",
    "OLD_CUDA_RUNTIME": "the CUDA runtime is too old for it; install a newer one",
    "INSUFFICIENT_GPU_MEMORY": "the GPU's memory is too small or full; build for a smaller size",
    "MALFORMED_ENGINE": "its content is no plan; build it again",
    "CUDA_ERROR": "CUDA failed; does nvidia-smi work?",
}


def _validity(trt: Any, runtime: Any, plan: bytes) -> list[str]:
    """What the RTX flavour says against ``plan``, with remedies; the full one cannot say."""
    if not hasattr(runtime, "get_engine_validity"):
        return []
    _, diagnostics = runtime.get_engine_validity(plan)
    members = trt.EngineInvalidityDiagnostics.__members__
    return [
        text
        for name, text in _REMEDIES.items()
        if name in members and diagnostics & int(members[name])
    ]


def _audit(tensorrt: TensorRT, engine: Any, precision: str) -> None:
    inspector = engine.create_engine_inspector()
    form = tensorrt.trt.LayerInformationFormat.JSON
    audit_engine(inspector.get_engine_information(form), precision)  # type: ignore[arg-type]


class TensorRTRunner:
    """An engine and its slots. Different slots may be used by different threads at once."""

    slots = SLOTS

    def __init__(
        self,
        tensorrt: TensorRT,
        cuda: Cuda,
        engine: Any,
        info: GraphInfo,
        profile: Profile,
        kernels: Path | None = None,
    ) -> None:
        """Takes ``cuda`` over and closes it. ``kernels`` is the file of what tensorrt-rtx compiles.

        Raises BackendError when memory is short.
        """
        self._tensorrt, self._cuda = tensorrt, cuda
        self._engine, self._profile = engine, profile
        with cuda.current():
            self._contexts = Contexts(tensorrt, engine, kernels)
        self.max_batch = profile.most[0]
        channels = (info.config.in_channels, info.config.out_channels)
        self._slots = [Slot(cuda, self._contexts, profile, channels) for _ in range(self.slots)]
        self._on_device: Slot | None = None  # made when it is first asked for
        self._for_planes: list[Slot] = []
        self._plane_slots: PlaneSlots | None = None  # made of them with the first planes
        self._channels, self._multiple = channels, info.config.size_multiple
        self._one_caller = threading.Lock()
        self.description = (
            f"{tensorrt.flavour} {tensorrt.version}, {cuda.gpu.name}, {info.precision}"
        )

    def why_refused(self, shape: tuple[int, ...]) -> str | None:
        """Why the plan takes no batch of ``shape`` (N, H, W), and what to do; or None."""
        batch, height, width = shape
        if self._profile.takes((batch, height, width)):
            return None
        return (
            f"frames of {width}x{height} in a batch of {batch} lie outside what the plan was built "
            f"for, {self._profile}; build one with --profile that holds them"
        )

    def begin(self, slot: int, frames: Frames) -> None:
        self._check_profile(frames.shape)
        self._slots[slot].begin(frames)

    def finish(self, slot: int) -> Frames:
        return self._slots[slot].finish()

    def translate_on_device(self, frames: Any, stream: int = 0) -> DeviceFrames:
        """Translate frames that are on the GPU already; the result stays there.

        ``frames`` is a contiguous uint8 (N, H, W, C) array that speaks
        ``__cuda_array_interface__`` or DLPack, such as a PyTorch or CuPy array. The work follows
        what ``stream`` (a CUDA stream's handle) and the array's own stream were given, and what
        ``stream`` is given later follows the work. The result is overwritten by the next call
        and gone when this is closed.
        Nothing is copied to the host, and the host does not wait. Raises FrameError.
        """
        view = self._view(frames, stream)
        with self._one_caller:
            if self._on_device is None:
                self._on_device = Slot(self._cuda, self._contexts, self._profile, self._channels)
            return self._on_device.translate(view, stream)

    @functools.cached_property
    def planes_on(self) -> str | None:
        """The GPU, if PyTorch sees it too: its kernels convert planes. Imports PyTorch."""
        if self._channels != (3, 3) or importlib.util.find_spec("torch") is None:
            return None
        import torch

        return f"cuda:{self._cuda.number}" if torch.cuda.is_available() else None

    def begin_planes(self, slot: int, pictures: "Sequence[Planes]") -> None:
        self._taking_planes().begin(slot, pictures)

    def finish_planes(self, slot: int) -> "list[Planes]":
        return self._taking_planes().finish(slot)

    def _taking_planes(self) -> "PlaneSlots":
        with self._one_caller:
            if self._plane_slots is None:
                self._plane_slots = self._made_for_planes()
            return self._plane_slots

    def _made_for_planes(self) -> "PlaneSlots":
        from cyclegan.engine.runners.plane_slots import PlaneSlots

        assert self.planes_on is not None
        self._for_planes = [
            Slot(self._cuda, self._contexts, self._profile, self._channels)
            for _ in range(self.slots)
        ]
        translators = [functools.partial(self._translate_in, slot) for slot in self._for_planes]
        return PlaneSlots(self.planes_on, self._multiple, translators)

    def _translate_in(self, slot: Slot, frames: Any, stream: int) -> DeviceFrames:
        return slot.translate(self._view(frames, stream), stream)

    def _view(self, frames: Any, stream: int) -> DeviceView:
        view = device_view(frames, stream)
        self._check_as_it_is(view.shape)
        self._check_profile(view.shape)
        if view.device not in (None, self._cuda.number):
            raise FrameError(
                f"the frames are on cuda:{view.device}, and the plan runs on "
                f"cuda:{self._cuda.number}; move them there, or open it with that device"
            )
        return view

    def _check_profile(self, shape: tuple[int, ...]) -> None:
        if reason := self.why_refused(shape[:3]):
            raise FrameError(reason)

    def _check_as_it_is(self, shape: tuple[int, ...]) -> None:
        """What is on the device is not padded: the network would shift it, or read beyond it."""
        _, height, width, channels = shape
        if channels != self._channels[0] or height % self._multiple or width % self._multiple:
            raise FrameError(
                f"frames on the GPU are {width}x{height} with {channels} channels; expected "
                f"{self._channels[0]} channels, and heights and widths that are multiples of "
                f"{self._multiple}: pad them first (reflected, to the right and at the bottom)"
            )

    def refit(self, graph: bytes) -> None:
        """Put other weights in, of a graph like the plan's own (:func:`typed_graph`), serialised.

        The plan must have been built with ``refit``; no batch may be in flight. Raises
        BackendError.
        """
        trt, log = self._tensorrt.trt, messages(self._tensorrt)
        with log.errors() as errors, self._cuda.current():
            refitter = trt.Refitter(self._engine, log.logger)
            reader = trt.OnnxParserRefitter(refitter, log.logger)
            done = reader.refit_from_bytes(graph) and refitter.refit_cuda_engine()
        if not done:
            raise BackendError(
                f"the weights cannot be put in: {'; '.join(errors) or 'no reason given'}; was the "
                "plan built with --refit, from a generator of the same configuration?"
            )

    def close(self) -> None:
        for slot in (*self._slots, *self._for_planes):
            slot.close()
        if self._on_device is not None:
            self._on_device.close()
        self._slots, self._for_planes, self._on_device, self._engine = [], [], None, None
        with self._cuda.current():
            self._contexts.close()
        self._cuda.close()
