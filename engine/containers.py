"""Videos, read with PyAV: from files, pipes, cameras and addresses.

H height, W width. A reader yields decoded frames, and the packets of the streams that are copied,
in the order of the source. Times stay the integers that the source has, in its own time base; a
part that is cut out begins at zero.
"""

import contextlib
import math
import threading
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING, Any

from cyclegan.engine.cameras import camera_packets
from cyclegan.engine.colour import colour_of, format_of, rgb_from_picture
from cyclegan.engine.endings import Ending
from cyclegan.engine.hardware import Decoder
from cyclegan.engine.layout import (
    Decoded,
    FromDecoded,
    Layout,
    Part,
    Picture,
    display_matrix,
    lost_of,
)
from cyclegan.engine.opening import close_video, is_chapters, open_video, why
from cyclegan.engine.sources import AnyPath, Input, input_from

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.stream import Stream

COPIED = ("audio", "subtitle")
_SEEKABLE = ("mov,mp4", "matroska")
"""Formats whose index is to be trusted."""
_IN_ORDER_OF_DECODING = ("avi",)
"""Formats that tell when frames are decoded alone; FFmpeg takes that for when they are shown."""
_FASTEST_RATE = 1000
"""Frames per second; sources that claim more are wrong about themselves."""


class VideoReader:
    """Decodes the best video stream of a source. Use it as a context manager."""

    def __init__(
        self,
        source: Input | AnyPath,
        part: Part | None = None,
        *,
        live: bool = False,
        decoder: Decoder = "cpu",
        keep_on: str | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """``live``: frames come as soon as they can, not as fast. ``keep_on``: the CUDA device
        whose memory pictures stay in where NVDEC decodes them. ``stop`` ends reading, also where
        no frame comes. Raises VideoError.
        """
        self.source = source if isinstance(source, Input) else input_from(source)
        self.part = part or Part()
        self.name = self.source.name
        self._stop = stop or threading.Event()
        self._closed = False
        self._container, self.video = open_video(self.source, decoder, keep_on)
        streams, video = self._container.streams, self.video
        # Decoding frame by frame in threads holds back as many frames as there are threads, and
        # NVDEC needs none.
        on_gpu = decoder != "cpu" and video.codec_context.is_hwaccel
        video.thread_type = "SLICE" if live or on_gpu else "AUTO"
        self.decoder = "NVDEC" if on_gpu else video.codec_context.codec.name
        """What decodes, in words."""
        video.codec_context.options = {"max_pixels": str(self.source.most_pixels)}
        self.copied: list[Stream] = [s for s in streams if s.type in COPIED]
        self.attachments: list[Any] = [s for s in streams if s.type == "attachment"]
        kept = (self.video, *self.copied, *self.attachments)
        self.left: list[Stream] = [
            s for s in streams if s not in kept and not is_chapters(self._container, s)
        ]
        self.skipped = 0
        """Frames at the beginning that are decoded and passed over."""
        self.problems: list[str] = []
        """What was damaged or missing, found while reading."""
        self.layout: Layout | None = None
        """Known from the first frame on."""
        self.convert: FromDecoded = rgb_from_picture
        """Makes of decoded frames what it gives: RGB of 8 bits, unless another is set."""
        self._is_short = False
        """All frames lie before the part that is wanted."""
        self._first_seconds: float | None = None
        """When the first frame comes, where the part ends before it."""
        self._stopped_by: str | None = None
        """The error that ended reading."""
        self._begun: Iterator[Decoded | Packet[Any]] | None = None
        self._seen = 0
        self._size: tuple[int, int] | None = None
        self._next_pts = 0
        self._ending = Ending(self._container, self.video)

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the source; may be called again."""
        if not self._closed:
            self._closed = True
            close_video(self.source, self._container)

    @property
    def expected_frames(self) -> int | None:
        """How many frames the source says it has, or about as many; None if it does not."""
        rate, stated = self.video.average_rate, self._container.duration
        if self.part.start or self.part.end is not None:
            end = self.part.end if not stated else min(self.part.end or 1e12, stated / 1e6)
            return round((end - self.part.start) * rate) if end and rate else None
        if self.video.frames:
            return int(self.video.frames)
        return round(float(stated / 1e6 * rate)) if stated and rate else None

    @property
    def metadata(self) -> dict[str, str]:
        """The file's own: title, date, and the like."""
        return dict(self._container.metadata)

    def chapters(self) -> list[Any]:
        """PyAV's chapters, cut to the part that is read."""
        cut = []
        for chapter in self._container.chapters():
            shift = self._shift(chapter["time_base"])
            start, end = max(chapter["start"] - shift, 0), chapter["end"] - shift
            if self.part.end is not None:
                length = self.part.end - self.part.start
                end = min(end, int(length / chapter["time_base"]))
            if end > start:
                cut.append({**chapter, "start": start, "end": end})
        return cut

    def begin(self) -> None:
        """Read up to the first frame, so that ``layout`` is known. ``items`` begins with it."""
        items, head = self._raw_items(), []
        for item in items:
            head.append(item)
            if isinstance(item, Decoded):
                break
        self._begun = chain(head, items)

    def why_empty(self) -> str:
        """What to say where reading gave no frame at all."""
        if self._is_short:
            return (
                f"{self.name} has no frames from {self.part.start:g} s on: it ends after "
                f"{self._ending.video_seconds:.2f} s; give an earlier start"
            )
        if self._first_seconds is not None:
            return (
                f"{self.name} has no frames before {self.part.end:g} s: the first comes at "
                f"{self._first_seconds:.2f} s; give a later end"
            )
        problems = "".join(f"; {problem}" for problem in self.problems)
        return f"{self.name} has no frames that can be decoded{problems}"

    def items(self) -> Iterator["Picture | Packet[Any]"]:
        """Frames and packets to copy, in the source's order; ends early at damage."""
        for item in self._begun or self._raw_items():
            if not isinstance(item, Decoded):
                yield item
            elif self._seen > self.skipped:
                yield item.picture(self.convert)

    def copies(self) -> Iterator["Packet[Any]"]:
        """The packets to copy alone, in the source's order; ends early at damage."""
        import av

        self._seek()
        if not self.copied:
            return
        with contextlib.suppress(av.FFmpegError, ValueError):
            for packet in self._container.demux(*self.copied):
                yield from self._copied(packet)

    def _raw_items(self) -> Iterator["Decoded | Packet[Any]"]:
        """The same, but that nothing is made of the frames yet."""
        import av

        count = damaged = concealed = 0
        most, done = self.source.most_pixels, False
        self._seek()
        try:
            for packet in self._until_error():
                if self._stop.is_set():
                    return
                self._ending.note(packet)
                if packet.stream is not self.video:
                    if done and self._is_past(packet):
                        break
                    yield from self._copied(packet)
                    continue
                count += packet.size > 0
                damaged += bool(packet.is_corrupt)
                if done:
                    if not self.copied or self._is_past(packet):
                        break
                    continue
                try:
                    decoded = packet.decode()
                except (av.FFmpegError, ValueError):
                    damaged += not packet.is_corrupt  # counted already
                    continue
                for picture in decoded:
                    if self._is_late(picture):
                        done = True
                    elif self._is_early(picture):
                        self._is_short = True  # unless others follow
                    else:
                        self._is_short = False
                        concealed += bool(picture.is_corrupt)
                        if problem := self._changes(picture):
                            self.problems.append(problem)
                            return
                        yield self._decoded(picture)
        except (av.FFmpegError, ValueError) as error:
            self._stopped_by = why(error, self.source)
        if self._stopped_by and not done:
            self.problems.append(f"reading stopped: {self._stopped_by}")
        if damaged:
            unless = "" if self._seen else f", or their frames have over {most:,} pixels"
            self.problems.append(f"{damaged} packets are damaged{unless}")
        if concealed:
            # Decoders fill what they cannot decode from the pictures around.
            self.problems.append(f"{concealed} pictures are damaged")
        if not done and self.source.gap:
            self.problems.append(self.source.gap)
        if not done and not self.part.start and (problem := self._ending.problem(count)):
            self.problems.append(problem)

    def _until_error(self) -> "Iterator[Packet[Any]]":
        """Packets, and after an error an empty one, for which decoders give what they hold back."""
        import av

        try:
            yield from self._packets()
        except (av.FFmpegError, ValueError, TimeoutError) as error:
            self._stopped_by = why(error, self.source)
            last: Packet[Any] = av.Packet()
            last.stream = self.video
            yield last

    def _packets(self) -> "Iterator[Packet[Any]]":
        if self.source.is_camera:
            silence = self.source.timeout or float("inf")
            return camera_packets(self._container, self.video, silence, self._stop)
        packets: Iterator[Packet[Any]] = self._container.demux(self.video, *self.copied)
        return packets

    def _seek(self) -> None:
        if self.part.start and self._container.format.name.startswith(_SEEKABLE):
            # To the key frame before; what lies between is decoded and dropped.
            self._container.seek(
                int(self.part.start / self.video.time_base), stream=self.video, backward=True
            )

    def _shift(self, time_base: Fraction) -> int:
        return round(self.part.start / time_base) if self.part.start else 0

    def _when(self, picture: "VideoFrame") -> int | None:
        """In its time base; below zero too, where times do not begin there."""
        when = picture.dts if self._container.format.name in _IN_ORDER_OF_DECODING else picture.pts
        return None if when is None else int(when)

    def _is_early(self, picture: "VideoFrame") -> bool:
        when = self._when(picture)
        return bool(self.part.start) and when is not None and when < self._shift_of(picture)

    def _is_late(self, picture: "VideoFrame") -> bool:
        when = self._when(picture)
        if self.part.end is None or when is None:
            return False
        end = self.part.end / self._base(picture)
        late = when >= math.ceil(end - 1e-3)  # a float may lie behind the time it stands for
        if late and not self._seen:
            self._first_seconds = float(when * self._base(picture))
        return late

    def _is_past(self, packet: "Packet[Any]") -> bool:
        """So far behind the end that nothing before it can follow."""
        when = packet.pts if packet.dts is None else packet.dts
        return when is None or float(when * packet.time_base) > (self.part.end or 0) + 1

    def _copied(self, packet: "Packet[Any]") -> Iterator["Packet[Any]"]:
        if packet.pts is None and packet.dts is None:
            return
        packet.dts = packet.pts if packet.dts is None else packet.dts
        if packet.pts is not None and (self.part.start or self.part.end is not None):
            base = packet.time_base
            if packet.stream.type == "subtitle" and packet.duration:
                self._cut(packet)
            seconds = float(packet.pts * base)
            if not self.part.start <= seconds < (self.part.end or 1e12):
                return
            shift = self._shift(base)
            packet.pts -= shift
            packet.dts = packet.pts if packet.dts is None else packet.dts - shift
        yield packet

    def _cut(self, packet: "Packet[Any]") -> None:
        """To what of a text on the screen lies within the part."""
        assert packet.pts is not None
        start, stop = self._shift(packet.time_base), packet.pts + int(packet.duration or 0)
        if self.part.end is not None:
            stop = min(stop, round(self.part.end / packet.time_base))
        if packet.pts < start < stop:
            packet.pts = packet.dts = start
        packet.duration = max(stop - packet.pts, 0)

    def _shift_of(self, picture: "VideoFrame") -> int:
        return self._shift(self._base(picture))

    def _base(self, picture: "VideoFrame") -> Fraction:
        base: Fraction = picture.time_base or self.video.time_base
        return base

    def _changes(self, picture: "VideoFrame") -> str | None:
        size = picture.width, picture.height
        known = self._size = self._size or size
        if size == known:
            return None
        return (
            f"frames change from {known[0]}x{known[1]} to {picture.width}x{picture.height}; "
            "cut the video there and translate the parts"
        )

    def _decoded(self, picture: "VideoFrame") -> "Decoded":
        self.layout = self.layout or self._layout(picture)
        self._seen += 1
        when = self._when(picture)
        given = None if when is None else when - self._shift_of(picture)
        # Files without times (raw streams), or with times that stand still, count on.
        pts = self._next_pts if given is None else max(given, self._next_pts)
        duration = int(picture.duration or 0)
        step = duration if given is None else 1
        self._next_pts = pts + max(step, 1)
        return Decoded(picture, pts, duration, self.part.size)

    def _layout(self, picture: "VideoFrame") -> Layout:
        # Times may begin below zero.
        when = self._when(picture)
        self._next_pts = 0 if when is None else when - self._shift_of(picture)
        rate = self.video.average_rate or self.video.guessed_rate or Fraction(25)
        height, width = self.part.size or (picture.height, picture.width)
        aspect = self.video.sample_aspect_ratio
        if self.part.size:
            # The same shape on the screen.
            aspect = (aspect or 1) * Fraction(picture.width * height, picture.height * width)
        return Layout(
            width=width,
            height=height,
            time_base=self._base(picture),
            rate=rate if 0 < rate <= _FASTEST_RATE else Fraction(25),
            pixel_aspect=aspect,
            display_matrix=display_matrix(picture),
            colour=colour_of(picture),
            format=format_of(picture),
            lost=lost_of(picture),
        )
