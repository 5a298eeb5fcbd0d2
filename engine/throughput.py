"""How fast a generator runs on this machine: latency and frames per second over batch size.

N batch, H height, W width, C channels. Frames are uint8 (N, H, W, C) in [0, 255].

Latency is that of one batch, from frames in to frames out, with nothing else in flight; frames per
second are those of a stream that keeps every slot busy. Both are medians.
"""

import math
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cyclegan.engine.frames import Frames
from cyclegan.engine.model_source import Source, open_source
from cyclegan.engine.parity import compare
from cyclegan.engine.runners import BACKENDS, Precision
from cyclegan.engine.translator import Translator
from cyclegan.errors import ConfigError, CycleGANError
from cyclegan.sizes import MOST_PIXELS, size_text

if TYPE_CHECKING:
    from cyclegan.networks import Generator

BATCHES = (1, 2, 4, 8, 16)
ROUNDS = 5
"""Streams timed for one figure, and the fewest calls timed for a latency."""
AS_FAST = 0.97
"""Rates nearer to the best than this are as good as it; latency then decides."""
BUSY = 1.25
"""80 % over 20 % of the streams' times: above it, others were using the machine."""
_MOST_AT_ONCE = 8 * MOST_PIXELS
"""Of a batch, in pixels: 64 frames of 1920x1080 and more."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """One backend at one batch size."""

    backend: str
    engine: str
    """What ran, with its precision."""
    precision: Precision
    """That was asked for."""
    batch: int
    latency_p50_ms: float
    latency_p95_ms: float
    frames_per_second: float
    spread: float
    """80 % over 20 % of the streams' times; near 1 on a quiet machine."""
    psnr_db: float | None
    """To float32 PyTorch; None where only a graph is at hand, infinite where they are equal."""

    @property
    def busy(self) -> bool:
        """Whether others used the machine meanwhile, so that the figures mean little."""
        return self.spread > BUSY


@dataclass(frozen=True, kw_only=True)
class Absent:
    """A backend that cannot run here, or failed."""

    backend: str
    reason: str


def measure(
    model: "str | os.PathLike[str] | Generator",
    *,
    backends: Sequence[str] = ("auto",),
    size: tuple[int, int] = (256, 256),
    precision: Precision = "auto",
    batches: Sequence[int] = BATCHES,
    seconds: float = 2.0,
) -> Iterator[Speed | Absent]:
    """One result for each backend and batch size, as soon as it is there.

    ``size`` is height and width. ``seconds`` are spent on each, or more where a batch takes longer.
    Frames are first compared with float32 PyTorch's. A backend that is missing, or refuses the
    model, the size or the precision, is a result too. Where several backends are compared in
    "auto", OpenVINO's int8 is as well. Raises ConfigError, ModelError.
    """
    if not batches or min(batches) < 1:
        raise ConfigError(f"batch sizes are {tuple(batches)}; expected numbers from 1 up")
    if not 0 < seconds < math.inf or min(size) < 1:
        raise ConfigError(f"got seconds {seconds} and size {size}; expected numbers above 0")
    if math.prod(size) > MOST_PIXELS:
        raise ConfigError(
            f"got frames of {size_text(size)}; expected at most {MOST_PIXELS:,} pixels"
        )
    if max(batches) * math.prod(size) > _MOST_AT_ONCE:
        raise ConfigError(
            f"got batches of {max(batches)} frames of {size_text(size)}; expected at most "
            f"{_MOST_AT_ONCE:,} pixels at once"
        )
    source = open_source(model)
    frames = sample_frames(max(batches), *size, source.info.config.in_channels)
    exact = _exact(source, model, frames[:1])
    for backend, asked in _engines(backends, precision, source):
        name = backend if asked == precision else f"{backend}, {asked}"
        if backend in BACKENDS and (reason := BACKENDS[backend].why_missing()):
            yield Absent(backend=name, reason=reason)
            continue
        try:
            with Translator.open(model, backend=backend, size=size, precision=asked) as translator:
                psnr = None if exact is None else compare(translator(frames[:1]), exact).psnr_db
                for batch in sorted(set(batches)):
                    yield _speed(translator, asked, frames[:batch], seconds, psnr)
        except CycleGANError as error:
            yield Absent(backend=name, reason=str(error))


def _engines(
    backends: Sequence[str], precision: Precision, source: Source
) -> Iterator[tuple[str, Precision]]:
    for backend in backends:
        yield backend, precision
        many = len(backends) > 1 and precision == "auto" and source.has_generator
        if backend == "openvino" and many:
            yield backend, "int8"


def recommend(speeds: Iterable[Speed]) -> Speed | None:
    """The setting of least latency among those that are as fast as the fastest."""
    known = list(speeds)
    best = max((speed.frames_per_second for speed in known), default=0.0)
    near = [speed for speed in known if speed.frames_per_second >= AS_FAST * best]
    return min(near, key=lambda speed: speed.latency_p50_ms, default=None)


def sample_frames(count: int, height: int, width: int, channels: int = 3) -> Frames:
    """Smooth pictures with edges, that drift: close enough to a video for timing and parity."""
    y, x, c = np.mgrid[:height, :width, :channels] / np.array(
        [max(height, width), max(height, width), 1]
    ).reshape(3, 1, 1, 1)
    frames = np.empty((count, height, width, channels), np.uint8)
    for frame, shift in zip(frames, np.arange(count) / 8):
        waves = np.sin(7 * x + 3 * y + shift + c)
        edges = np.sign(np.sin(9 * x + shift) * np.sin(6 * y - c))
        frame[:] = (((waves + 0.5 * edges) / 1.5 + 1) * 127.5).round().clip(0, 255)
    return frames


def stream(translator: Translator, batches: Sequence[Frames]) -> Frames:
    """Translate batches as a video would be, with all slots in use; the last result."""
    waiting = []
    result = batches[0]
    for batch in batches:
        waiting.append(translator.submit(batch))
        if len(waiting) > translator.slots:
            result = translator.collect(waiting.pop(0))
    for ticket in waiting:
        result = translator.collect(ticket)
    return result


def _exact(
    source: Source, model: "str | os.PathLike[str] | Generator", frames: Frames
) -> Frames | None:
    if not source.has_generator:
        return None
    with Translator.open(model, backend="torch", precision="float32", device="cpu") as translator:
        return translator(frames)


def _speed(
    translator: Translator,
    precision: Precision,
    frames: Frames,
    seconds: float,
    psnr_db: float | None,
) -> Speed:
    translator(frames)  # a new shape may compile
    alone = _repeated(lambda: translator(frames), seconds / 3)
    count = max(translator.slots, round(seconds / ROUNDS / statistics.median(alone)))
    streams = [_seconds(lambda: stream(translator, [frames] * count)) for _ in range(ROUNDS)]
    return Speed(
        backend=translator.backend,
        engine=translator.description,
        precision=precision,
        batch=len(frames),
        latency_p50_ms=1e3 * statistics.median(alone),
        latency_p95_ms=1e3 * float(np.quantile(alone, 0.95)),
        frames_per_second=count * len(frames) / statistics.median(streams),
        spread=float(np.quantile(streams, 0.8) / np.quantile(streams, 0.2)),
        psnr_db=psnr_db,
    )


def _repeated(run: Callable[[], object], seconds: float) -> list[float]:
    """Times of calls for about so many seconds, and of ROUNDS at least."""
    end, taken = time.perf_counter() + seconds, [_seconds(run) for _ in range(ROUNDS)]
    while time.perf_counter() < end:
        taken.append(_seconds(run))
    return taken


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
