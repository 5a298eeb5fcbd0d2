"""One translation of a video: three stages that overlap, and what they count."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cyclegan.colour import bits_of
from cyclegan.config import Depth
from cyclegan.engine.comparison import COMBINE
from cyclegan.engine.containers import VideoReader
from cyclegan.engine.conversion import choose_conversion
from cyclegan.engine.encoding import Chosen
from cyclegan.engine.layout import Layout, Pixels, TimedFrame
from cyclegan.engine.live import latency_of, paced
from cyclegan.engine.options import Show, VideoOptions, VideoStats
from cyclegan.engine.pipeline import StageSeconds, run_pipeline
from cyclegan.engine.progress import Progress
from cyclegan.engine.translator import Translation, Translator
from cyclegan.errors import StoppedEarlyError, VideoError

if TYPE_CHECKING:
    from av import Packet


_GONE = np.empty((0, 0, 3), np.uint8)
"""In place of frames that nobody needs any more."""


@dataclass(frozen=True)
class _Submitted:
    pictures: list[TimedFrame]
    translation: Translation[Any]
    at: float


class Writer(Protocol):
    """Where frames and packets go."""

    notes: list[str]
    """What could not be taken along."""
    chosen: Chosen
    """What it encodes with."""

    bits: int
    """Of a channel, in the result."""

    def write(self, item: "TimedFrame | Packet[Any]") -> None:
        """Take a translated frame, or a packet of the source."""

    def close(self) -> None:
        """Everything was written."""

    def abandon(self) -> None:
        """Wait for nobody who reads it; called from any thread."""

    def discard(self) -> None:
        """Something went wrong: let go."""


class Job:
    """One run: the three stages and what they count."""

    def __init__(
        self,
        reader: VideoReader,
        translator: Translator,
        options: VideoOptions,
        *,
        progress: Progress | None,
        show: Show | None,
        stop: threading.Event,
    ) -> None:
        self._reader, self._translator, self._options = reader, translator, options
        self._progress = progress or (lambda done, expected: None)
        self._show = show
        self._stop = stop
        self._combine = COMBINE[options.compare].combine
        self._frames = 0
        self._begun = time.perf_counter()
        self._first_frame_seconds = self._collected_at = 0.0
        self._translate_seconds = self._encode_seconds = self._collect_seconds = 0.0
        self._latencies: list[float] = []

    def run(self, open_writer: Callable[[], Writer]) -> VideoStats:
        """Write the translated video; the writer is opened when the first frame is known."""
        reader = self._reader
        reader.begin()
        if reader.layout is None:
            if reader.stop.is_set():
                raise StoppedEarlyError(f"stopped before {reader.name} gave a frame")
            raise VideoError(reader.why_empty())
        decoded = time.perf_counter() - self._begun
        self._writer = open_writer()
        try:
            pixel_format, depth = self._writer.chosen.pixel_format, self._depth(reader.layout)
            self._conversion = choose_conversion(
                self._translator, reader.layout, pixel_format, self._options, depth
            )
            reader.convert = self._conversion.convert
            stages = self._run_stages(reader.items())
            self._writer.close()
            self._note_deeper(reader.layout, depth)
        except BaseException:
            self._writer.discard()
            raise
        return self._stats(stages, decoded)

    def _run_stages(self, items: "Iterator[TimedFrame | Packet[Any]]") -> StageSeconds:
        translator = self._translator
        if self._options.live:
            assert self._reader.layout is not None
            if not self._reader.source.endless:
                items = paced(items, self._reader.layout.time_base, self._stop)
            return run_pipeline(
                items,
                self._submit,
                self._write,
                capacity=2,
                is_late=_is_frame,
                stopped=self._abandon,
            )
        # Room for all batches in flight, so that the translator, not the channel, holds them.
        capacity = translator.slots + translator.max_batch + 3
        return run_pipeline(
            items,
            self._submit,
            self._write,
            capacity=capacity,
            most=translator.max_batch,
            stopped=self._abandon,
        )

    def _abandon(self) -> None:
        self._reader.abandon()
        self._writer.abandon()

    def _depth(self, layout: Layout) -> Depth:
        """Bits a channel of the frames; notes it where bits of the source are lost."""
        depths, asked = self._translator.depths, self._options.depth
        depth = depths[0] if asked == "auto" else asked
        if asked == 8 or not layout.is_deep:
            return depth
        source, result = bits_of(layout.format), self._writer.bits
        told = f"the source has {source} bits a channel"
        if result > 8 and 16 not in depths:
            self._writer.notes.append(
                f"{told}, and was translated with 8: the generator, as it was opened "
                f"({self._translator.description}), takes no more"
            )
        elif result < source:
            remedy = "; ffv1 in .mkv holds 16" if result < 16 else ""
            self._writer.notes.append(f"{told}, the result {result}{remedy}")
        return 16 if result > 8 and 16 in depths else depth

    def _note_deeper(self, layout: Layout, depth: Depth) -> None:
        """Notes it where bits of pictures are lost that are deeper than the first, as they can be
        in a series."""
        first, deepest, result = bits_of(layout.format), self._reader.bits, self._writer.bits
        if self._options.depth != 8 and deepest > max(first, min(depth, result)):
            self._writer.notes.append(
                f"pictures after the first have up to {deepest} bits a channel, not {first}: all "
                f"were translated with {depth}, and the result has {result}"
            )

    def _submit(self, items: "list[TimedFrame | Packet[Any]]") -> "list[_Submitted | Packet[Any]]":
        results: list[_Submitted | Packet[Any]] = []
        pictures = []
        for item in items:
            if isinstance(item, TimedFrame):
                pictures.append(item)
            else:
                results.append(item)
        if pictures:
            start = time.perf_counter()
            translation = self._conversion.submit([picture.frame for picture in pictures])
            if self._options.compare == "none":
                pictures = [replace(picture, frame=_GONE) for picture in pictures]
            results.append(_Submitted(pictures, translation, start))
        return results

    def _write(self, item: "_Submitted | Packet[Any]") -> None:
        if not isinstance(item, _Submitted):
            self._writer.write(item)
            return
        waited = time.perf_counter()
        frames = self._translator.collect(item.translation)
        start = time.perf_counter()
        self._collect_seconds += start - waited
        self._translate_seconds += start - max(item.at, self._collected_at)
        self._collected_at = start
        for picture, frame in zip(item.pictures, frames):
            self._write_one(picture, frame)
        self._encode_seconds += time.perf_counter() - start

    def _write_one(self, picture: TimedFrame, made: Pixels) -> None:
        assert self._reader.layout is not None
        if self._options.compare != "none":
            seconds = float(picture.pts * self._reader.layout.time_base)
            made = self._combine(
                self._conversion.frame(picture.frame), self._conversion.frame(made), seconds
            )
        self._writer.write(replace(picture, frame=made))
        now = time.perf_counter()
        self._first_frame_seconds = self._first_frame_seconds or now - self._begun
        if self._options.live:
            self._latencies.append(now - picture.at)
        self._frames += 1
        if self._show:
            self._show(self._conversion.frame(made), now - picture.at)
        expected = self._reader.expected_frames
        self._progress(self._frames, expected and expected - self._reader.skipped)

    def _means(self) -> str:
        chosen = self._writer.chosen
        return (
            f"decoded by {self._reader.decoder}, converted on {self._conversion.place}, "
            f"encoded by {chosen.encoder} in {chosen.pixel_format}"
        )

    def _stats(self, stages: StageSeconds, decoded: float) -> VideoStats:
        # What stands before the last stage waits for the encoder, or for frames to be translated.
        busy = self._encode_seconds + self._collect_seconds
        for_encoder = stages.blocked * self._encode_seconds / busy if busy else 0.0
        waits = {
            "decode": stages.starved,
            "translate": stages.working + stages.blocked - for_encoder,
            "encode": for_encoder,
        }
        return VideoStats(
            frames=self._frames,
            seconds=time.perf_counter() - self._begun,
            first_frame_seconds=self._first_frame_seconds,
            decode_seconds=stages.making + decoded,
            translate_seconds=self._translate_seconds,
            encode_seconds=self._encode_seconds,
            means=self._means(),
            bound_by=max(waits, key=lambda stage: waits[stage]),
            dropped=stages.dropped,
            latency=latency_of(self._latencies),
            notes=(*self._writer.notes, *self._reader.notes),
        )


def _is_frame(item: "TimedFrame | Packet[Any]") -> bool:
    return isinstance(item, TimedFrame)
