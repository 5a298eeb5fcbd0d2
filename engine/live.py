"""Sources that go on by themselves: cameras and streams, and files played as if they did.

A source that breaks off is opened again, a bounded number of times, and its frames go on at the
time that has passed meanwhile.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any

from cyclegan.engine.containers import VideoReader
from cyclegan.engine.cutting import Part
from cyclegan.engine.endpoints import Input, Retry
from cyclegan.engine.hardware import Decoder
from cyclegan.engine.layout import Layout, TimedFrame
from cyclegan.engine.reopened import Reopened
from cyclegan.errors import ConfigError, VideoError

if TYPE_CHECKING:
    from av import Packet


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds from a frame's arrival to the end of its encoding."""

    p50: float
    p95: float


def latency_of(seconds: list[float]) -> Latency | None:
    """The percentiles of some latencies in seconds; None of none."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    p50, p95 = (ordered[int(share * (len(ordered) - 1))] * 1000 for share in (0.5, 0.95))
    return Latency(p50=p50, p95=p95)


def paced(
    items: "Iterator[TimedFrame | Packet[Any]]", base: Fraction, stop: threading.Event
) -> "Iterator[TimedFrame | Packet[Any]]":
    """The items of a file, each frame at its time, as a player would show it."""
    begin: tuple[float, int] | None = None
    for item in items:
        if isinstance(item, TimedFrame):
            now = time.perf_counter()
            begin = begin or (now, item.pts)
            wait = begin[0] + float((item.pts - begin[1]) * base) - now
            if wait > 0 and stop.wait(wait):
                return
            item = replace(item, at=time.perf_counter())
        yield item


class EndlessReader(VideoReader):
    """Reads a camera or a stream until ``part.end``, ``stop``, or until it stays away.

    Times begin at zero. Sound is left out: it would not survive a gap in step with the pictures.
    """

    def __init__(
        self,
        source: Input,
        part: Part | None = None,
        *,
        live: bool = False,
        decoder: Decoder = "cpu",
        keep_on: str | None = None,
        retry: Retry | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """Raises VideoError where it cannot be opened now, ConfigError for a ``part.start``."""
        part = part or Part()
        if part.start:
            raise ConfigError(f"{source.name} begins when it is opened: a start cannot be chosen")
        stop = stop or threading.Event()
        how: dict[str, Any] = {"live": live, "decoder": decoder, "keep_on": keep_on, "stop": stop}
        whole = replace(part, end=None)
        super().__init__(source, whole, **how)
        self._open: Callable[[], Reopened] = partial(Reopened, source, whole, **how)
        self._until = part.end
        self._retry = retry or Retry()
        self._failed = 0
        """Attempts to open it again, in a row, without a frame in between."""
        self._current: VideoReader = self
        self._rate = self.video.average_rate  # the stream goes when its container is closed
        self.left += self.copied
        self.copied = []

    def __exit__(self, *error: object) -> None:
        self._current.close()
        super().__exit__(*error)

    @property
    def expected_frames(self) -> int | None:
        """As many as the chosen end asks for; None without one."""
        return round(self._until * float(self._rate)) if self._until and self._rate else None

    def items(self) -> Iterator["TimedFrame | Packet[Any]"]:
        """Frames, through interruptions."""
        moved, last, arrived = 0, 0, time.perf_counter()
        while True:
            current, first = self._current, None
            pictures = super().items() if current is self else current.items()
            for item in pictures:
                if not isinstance(item, TimedFrame):
                    continue
                assert current.layout is not None
                self.layout = self.layout or current.layout
                if first is None:
                    first = item.pts
                    if isinstance(current, Reopened):
                        came = current.came_at(float(first * current.layout.time_base))
                        moved = last + max(1, round((came - arrived) / self._base_of_all()))
                pts = round((item.pts - first) * current.layout.time_base / self._base_of_all())
                picture = replace(item, pts=pts + moved)
                if self.stop.is_set() or self._is_over(picture):
                    return
                yield picture
                self._failed = 0
                last, arrived = picture.pts, time.perf_counter()
            if self.stop.is_set() or (first is None and current is self):
                return
            found = self._again(current)
            if found is None:
                return
            self._current = found

    def _base_of_all(self) -> Fraction:
        assert self.layout is not None
        return self.layout.time_base

    def _is_over(self, picture: TimedFrame) -> bool:
        return self._until is not None and picture.pts * self._base_of_all() >= self._until

    def _again(self, gone: VideoReader) -> Reopened | None:
        """The source, opened again and of the same size; None if it stays away."""
        why = "; ".join(gone.problems) or "it ended"
        gone.problems.clear()
        gone.close()
        while self._failed < self._retry.attempts:
            pause = self._retry.pause(self._failed)
            self._failed += 1
            if self.stop.wait(pause):
                return None
            try:
                reader = self._open()
            except VideoError as error:
                why = str(error)
                continue
            if problem := _other_size(reader, self.layout):
                self.problems.append(problem)
                reader.close()
                return None
            reader.convert = self.convert
            return reader
        self.problems.append(
            f"it went away ({why}) and did not come back in {self._retry.attempts} attempts"
        )
        return None


def _other_size(reader: VideoReader, layout: Layout | None) -> str | None:
    assert layout is not None
    size = reader.video.width, reader.video.height
    if reader.part.size or size == (layout.width, layout.height):
        return None
    return f"it came back with frames of {size[0]}x{size[1]}, not {layout.width}x{layout.height}"
