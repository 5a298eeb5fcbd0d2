"""Frames in, frames out.

N batch, H height, W width, C channels. Frames are uint8 (N, H, W, C) or (H, W, C), RGB for C = 3,
in [0, 255], of any size: what the generator cannot take as it is, it gets reflection-padded to the
right and at the bottom, and the result is cropped back. Most backends also take uint16 in
[0, 65535], and then give uint16.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import numpy as np

from cyclegan.config import Depth
from cyclegan.engine.backend_choice import choose_backend
from cyclegan.engine.frames import SMALLEST_SIDE, Frames
from cyclegan.engine.graph_info import GraphInfo
from cyclegan.engine.model_source import open_source
from cyclegan.engine.runners import Precision, Settings, open_runner, open_while
from cyclegan.engine.tickets import (
    OnDevice,
    PlaneRunner,
    RememberingRunner,
    Runner,
    Scheduler,
    Ticket,
)
from cyclegan.errors import BackendError, ConfigError, FrameError
from cyclegan.sizes import checked_size

if TYPE_CHECKING:
    from cyclegan.engine.device_arrays import DeviceFrames
    from cyclegan.engine.planes import Planes
    from cyclegan.networks import Generator

AnyFrames = TypeVar("AnyFrames", bound=Frames)
"""Frames of one depth."""
Made = TypeVar("Made")
"""What comes of a batch."""


class Translation(Generic[Made]):
    """A submitted batch, to be collected once. Drop it to drop its frames."""

    __slots__ = ("_finish", "_tickets")

    def __init__(self, tickets: list[Ticket], finish: Callable[[list[Any]], Made]) -> None:
        self._tickets = tickets
        self._finish = finish


class Translator:
    """A generator, loaded into a backend. May be used from any number of threads at once.

    Processes open their own, started by spawn, or forked before any was opened: after that, the
    libraries behind it may hang in a forked one.

    Use it as a context manager, or call :meth:`close`.
    """

    def __init__(
        self,
        runner: Runner,
        info: GraphInfo,
        backend: str = "custom",
        only_size: tuple[int, int] | None = None,
    ) -> None:
        """Most users call :meth:`open`; this takes a runner of one's own."""
        self.info = info
        """The generator's configuration and domains."""
        self.backend = backend
        self.slots = runner.slots
        """Batches in flight before ``submit`` waits."""
        self._runner = runner
        self._only_size = only_size
        self._scheduler = Scheduler(runner)
        self._video = threading.Lock()
        """Held for a video whose frames are remembered."""

    @classmethod
    def open(
        cls,
        model: "str | os.PathLike[str] | Generator",
        *,
        backend: str = "auto",
        size: tuple[int, int] | None = None,
        precision: Precision = "auto",
        device: str | None = None,
        serve_while_building: bool = False,
    ) -> "Translator":
        """Load ``model`` into a backend.

        ``model`` is a ``.safetensors`` file, a ``.pth`` file of the public implementation, a
        frame-to-frame ``.onnx`` file, a run's folder, the name of a shipped model, or a generator.
        ``size`` (height, width), where every frame has it, lets the backend prepare for it alone;
        sizes that are padded to another are then refused. ``backend`` and
        ``precision`` "auto" take what is fastest here (see ``cyclegan doctor``); "int8" is faster
        still on most CPUs (:mod:`cyclegan.engine.int8`). A ``.plan`` file runs on TensorRT alone.
        ``serve_while_building`` returns at once, and translates with what "auto" takes until
        ``backend``, such as "tensorrt", is ready; sizes that this refuses go on with the first.

        Raises ModelError, BackendError, ConfigError.
        """
        source = open_source(model)
        multiple = source.info.config.size_multiple
        padded = None if size is None else _padded_size(checked_size(size), multiple)
        settings = Settings(size=padded, precision=precision, device=device)
        automatic = "tensorrt"
        if source.plan is None and (backend == "auto" or serve_while_building):
            needs_onnx = precision == "int8" or not source.has_generator
            choice = choose_backend(source.info.config, precision=precision, needs_onnx=needs_onnx)
            automatic = choice.backend
        if backend == "auto":
            backend = automatic
        if serve_while_building and backend != automatic:
            runner: Runner = open_while(automatic, backend, source, settings)
        else:
            runner = open_runner(backend, source, settings)
        return cls(runner, source.info, backend, padded)

    @property
    def max_batch(self) -> int:
        """Frames that the runner takes at once; may grow while a better one is prepared. Larger
        batches are cut."""
        return self._runner.max_batch

    @property
    def depths(self) -> tuple[Depth, ...]:
        """Bits a channel of the frames that it takes: 8 for uint8, 16 for uint16. The engine for
        the second is loaded with its first frames. A better runner that is prepared meanwhile may
        take fewer; it does not take over once it would have to refuse what was translated."""
        return getattr(self._runner, "depths", (8,))

    @property
    def planes_on(self) -> str | None:
        """The device on which pictures of 4:2:0 become RGB, where ``submit_planes`` takes them."""
        return self._runner.planes_on if isinstance(self._runner, PlaneRunner) else None

    @property
    def remembers(self) -> bool:
        """Whether a frame's translation depends on the frames before."""
        return isinstance(self._runner, RememberingRunner) and self._runner.remembers

    @contextlib.contextmanager
    def one_video(self) -> Iterator[None]:
        """What is translated within it is one video, of which nothing before it is remembered.

        Raises ConfigError where another one is under way and a frame's translation would depend on
        its frames, BackendError when the translator is closed.
        """
        runner = self._runner
        if not (isinstance(runner, RememberingRunner) and runner.remembers):
            yield
            return
        if not self._video.acquire(blocking=False):
            raise ConfigError(
                f"this translator ({self.description}) remembers the frames of the video that it "
                "is at work on: translate the next one after it, or open a translator for each"
            )
        try:
            with self._scheduler.beside_slots():
                runner.begin_anew()
            yield
        finally:
            self._video.release()

    @property
    def description(self) -> str:
        """What runs the generator, in words."""
        return getattr(self._runner, "description", self.backend)

    def __call__(self, frames: AnyFrames) -> AnyFrames:
        """Translate ``frames``, uint8 (N, H, W, C) or (H, W, C), to uint8 of the same H and W.

        Where ``depths`` has 16, uint16 gives uint16. Raises FrameError for any other shape or
        dtype, BackendError when the backend fails.
        """
        return cast(AnyFrames, self.collect(self.submit(frames)))

    def submit(self, frames: Frames) -> Translation[Frames]:
        """Start to translate ``frames``; they may be overwritten once this returns.

        Waits for the oldest batch while all ``slots`` are taken. Raises as a call does.
        """
        try:
            frames = np.asarray(frames)
        except (RuntimeError, TypeError, ValueError) as error:
            raise FrameError(f"frames are no array of one shape: {error}") from error
        self._check(frames)
        batch = frames[None] if frames.ndim == 3 else frames
        height, width = batch.shape[1:3]
        padded = self._padded(batch)
        most = self.max_batch
        chunks = range(0, len(padded), most)
        tickets = [self._scheduler.submit(padded[i : i + most]) for i in chunks]
        single = frames.ndim == 3

        def finish(parts: list[Frames]) -> Frames:
            translated = parts[0] if len(parts) == 1 else np.concatenate(parts)
            cropped = translated[:, :height, :width]
            return np.ascontiguousarray(cropped[0] if single else cropped)

        return Translation(tickets, finish)

    def submit_planes(self, pictures: "Sequence[Planes]") -> "Translation[list[Planes]]":
        """The same with pictures as decoders hold them, of one size and coding.

        They must stay as they are until they are collected; what is collected is in the host's
        memory. Raises BackendError where ``planes_on`` is None.
        """
        if self.planes_on is None:
            raise BackendError(f"{self.description} takes RGB frames alone, no planes")
        for planes in pictures[:1]:
            self._padded_to(planes.y.shape)
        most = self.max_batch
        tickets = [
            self._scheduler.submit_planes(pictures[i : i + most])
            for i in range(0, len(pictures), most)
        ]
        return Translation(tickets, lambda parts: [planes for part in parts for planes in part])

    def collect(self, translation: Translation[Made]) -> Made:
        """The frames of a batch that was submitted, waiting for them. A batch is collected once."""
        tickets = _tickets_of(translation)
        return translation._finish([self._scheduler.collect(ticket) for ticket in tickets])

    def translate_on_device(self, frames: Any, *, stream: int = 0) -> "DeviceFrames":
        """Translate frames that are in the GPU's memory; the result stays there. TensorRT only.

        ``frames`` is uint8 (N, H, W, C), contiguous, of a size that the plan takes as it is, and
        speaks ``__cuda_array_interface__`` or DLPack, as PyTorch's and CuPy's arrays do; so does
        the result, which the next call overwrites. ``stream`` is the handle of the CUDA stream that
        the frames are made in and the result is read in. Raises BackendError on other backends, and
        until a better one is ready that takes them; FrameError for other frames.
        """
        if not isinstance(self._runner, OnDevice):
            raise BackendError(
                f"{self.description} takes frames of the host alone; open with backend='tensorrt'"
            )
        with self._scheduler.beside_slots():
            return self._runner.translate_on_device(frames, stream)

    def cancel(self, translation: Translation[Any]) -> None:
        """Drop a batch: it can no longer be collected. Does not wait for it."""
        for ticket in _tickets_of(translation):
            self._scheduler.cancel(ticket)

    def close(self) -> None:
        """Wait for what is in flight and give the backend's memory back. May be called again.

        After an interrupt the next call goes on. In a signal handler that has interrupted a
        translation this only refuses further ones: the next call closes. What is open when the
        interpreter ends is closed then: threads that still translate get a BackendError. With
        PyTorch they do as soon as the main thread has ended.
        """
        self._scheduler.close()

    def __reduce__(self) -> Any:
        raise TypeError("a translator cannot be given to another process: open one there")

    def __enter__(self) -> "Translator":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _check(self, frames: Frames) -> None:
        channels = self.info.config.in_channels
        kinds = " or ".join(f"uint{depth}" for depth in self.depths)
        expected = f"{kinds} (N, H, W, {channels}) or (H, W, {channels})"
        if frames.dtype not in [np.dtype(f"uint{depth}") for depth in self.depths]:
            ranges = " or ".join(f"[0, {2**depth - 1}]" for depth in self.depths)
            raise FrameError(f"frames are {frames.dtype}; expected {expected} in {ranges}")
        if frames.ndim not in (3, 4) or frames.shape[-1] != channels or 0 in frames.shape:
            raise FrameError(f"frames have shape {frames.shape}; expected {expected}, none empty")

    def _padded_to(self, size: Sequence[int]) -> tuple[int, int]:
        height, width = size
        padded = _padded_size((height, width), self.info.config.size_multiple)
        if self._only_size not in (None, padded):
            raise FrameError(
                f"frames are {width}x{height}, but this translator was opened for another size; "
                "open it without size to take any"
            )
        return padded

    def _padded(self, batch: Frames) -> Frames:
        height, width = batch.shape[1:3]
        padded = self._padded_to((height, width))
        if padded == (height, width):
            return batch
        below, right = padded[0] - height, padded[1] - width
        return np.pad(batch, ((0, 0), (0, below), (0, right), (0, 0)), mode="reflect")


def _tickets_of(translation: Translation[Any]) -> list[Ticket]:
    if not isinstance(translation, Translation):
        kind = type(translation).__name__
        raise BackendError(f"got a {kind}; expected what submit() gave, to be collected once")
    return translation._tickets


def _padded_size(size: tuple[int, int], multiple: int) -> tuple[int, int]:
    """The least size that holds ``size`` and that the generator can take."""
    height, width = (-(-max(side, SMALLEST_SIDE) // multiple) * multiple for side in size)
    return height, width
