"""A video file, translated: decoding, translation and encoding overlap.

What is kept: the time of every frame, audio and subtitles (copied as they are), the size, the shape
of pixels, colour tags and rotation. Times may vary, and need not begin at zero.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclegan.engine.containers import Picture, VideoReader, VideoWriter
from cyclegan.engine.pipeline import StageSeconds, run_pipeline
from cyclegan.engine.targets import check_target
from cyclegan.engine.translator import Translation, Translator
from cyclegan.errors import VideoError
from cyclegan.files import replacing

if TYPE_CHECKING:
    from av import Packet

Progress = Callable[[int, int | None], None]
"""Called with the frames done and the frames expected (None: unknown), from one other thread."""


@dataclass(frozen=True, kw_only=True)
class VideoStats:
    """What a translation took."""

    frames: int
    seconds: float
    decode_seconds: float
    """Time that decoding and conversion to RGB were at work."""
    translate_seconds: float
    """Time with at least one frame in the translator; too high where encoding is the bottleneck."""
    encode_seconds: float
    """Time that conversion from RGB, encoding and writing were at work."""
    bound_by: str
    """The stage that the others waited for: decode, translate or encode."""
    notes: tuple[str, ...]
    """Streams of the source that the result does not have, and why."""

    @property
    def frames_per_second(self) -> float:
        """End to end."""
        return self.frames / self.seconds

    def stage_rates(self) -> dict[str, float]:
        """Frames per second of each stage by itself."""
        stages = {
            "decode": self.decode_seconds,
            "translate": self.translate_seconds,
            "encode": self.encode_seconds,
        }
        return {name: self.frames / max(seconds, 1e-9) for name, seconds in stages.items()}


def translate_video(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    translator: Translator,
    *,
    encoder: str = "libx264",
    quality: int = 18,
    progress: Progress | None = None,
) -> VideoStats:
    """Translate every frame of the video ``source`` into the video ``target``.

    ``quality`` is the encoder's constant rate factor: smaller is better, 18 is hard to tell from
    the original. ``target`` appears when it is whole; until then, and after an error or an
    interrupt, what was there stays.

    Raises VideoError when ``source`` is no video or has no frames. When it is damaged or ends
    early, what could be decoded is kept beside ``target``, as ``NAME.partial.SUFFIX``, and
    VideoError says so. Raises OutputError when ``target`` cannot be written.
    """
    source, target = Path(source), Path(target)
    check_target(source, target)
    _check_channels(translator)
    with VideoReader(source) as reader, replacing(target) as temporary:
        stats = _Job(reader, translator, progress).run(temporary, encoder, quality)
        if reader.problems:
            partial = target.with_suffix(f".partial{target.suffix}")
            temporary.replace(partial)
            raise VideoError(
                f"{source} is damaged: {'; '.join(reader.problems)}. "
                f"The {stats.frames} frames that could be decoded are in {partial}"
            )
    return stats


def _check_channels(translator: Translator) -> None:
    config = translator.info.config
    if (config.in_channels, config.out_channels) != (3, 3):
        raise VideoError(
            f"this generator takes {config.in_channels} channels and gives {config.out_channels}; "
            "videos need 3 and 3"
        )


@dataclass(frozen=True)
class _Submitted:
    picture: Picture
    translation: Translation
    at: float


class _Job:
    """One run: the three stages and what they count."""

    def __init__(
        self, reader: VideoReader, translator: Translator, progress: Progress | None
    ) -> None:
        self._reader = reader
        self._translator = translator
        self._progress = progress or (lambda done, expected: None)
        self._frames = 0
        self._translate_seconds = self._encode_seconds = 0.0
        self._collected_at = 0.0

    def run(self, path: Path, encoder: str, quality: int) -> VideoStats:
        """Write the translated video to ``path``."""
        start = time.perf_counter()
        items = self._started()
        first_seconds = time.perf_counter() - start
        self._writer = VideoWriter(path, self._reader, encoder=encoder, quality=quality)
        try:
            # Room for all batches in flight, so that the translator, not the channel, holds them.
            capacity = self._translator.slots + 4
            stages = run_pipeline(items, self._submit, self._write, capacity=capacity)
            self._writer.close()
        except BaseException:
            self._writer.discard()
            raise
        return self._stats(stages, time.perf_counter() - start, first_seconds)

    def _started(self) -> "Iterator[Picture | Packet[Any]]":
        """All items, with the first frame decoded already: the writer needs to know its layout."""
        items = self._reader.items()
        head = []
        for item in items:
            head.append(item)
            if isinstance(item, Picture):
                return chain(head, items)
        problems = "".join(f"; {problem}" for problem in self._reader.problems)
        raise VideoError(f"{self._reader.path} has no frames that can be decoded{problems}")

    def _submit(self, item: "Picture | Packet[Any]") -> "_Submitted | Packet[Any]":
        if not isinstance(item, Picture):
            return item
        start = time.perf_counter()
        translation = self._translator.submit(item.frame)
        return _Submitted(replace(item, frame=item.frame[:0]), translation, start)

    def _write(self, item: "_Submitted | Packet[Any]") -> None:
        if not isinstance(item, _Submitted):
            self._writer.write(item)
            return
        frame = self._translator.collect(item.translation)
        start = time.perf_counter()
        self._translate_seconds += start - max(item.at, self._collected_at)
        self._collected_at = start
        self._writer.write(replace(item.picture, frame=frame))
        self._encode_seconds += time.perf_counter() - start
        self._frames += 1
        self._progress(self._frames, self._reader.expected_frames)

    def _stats(self, stages: StageSeconds, seconds: float, first_seconds: float) -> VideoStats:
        waits = {
            "decode": stages.starved,
            "translate": stages.working,
            "encode": stages.blocked,
        }
        return VideoStats(
            frames=self._frames,
            seconds=seconds,
            decode_seconds=stages.making + first_seconds,
            translate_seconds=self._translate_seconds,
            encode_seconds=self._encode_seconds,
            bound_by=max(waits, key=lambda stage: waits[stage]),
            notes=tuple(self._writer.notes),
        )
