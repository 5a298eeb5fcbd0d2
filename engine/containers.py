"""Videos, read with PyAV: from files, pipes, cameras and addresses.

H height, W width. A reader yields decoded frames, and the packets of the streams that are copied,
in the order of the source. Times stay the integers that the source has, in its own time base; a
part that is cut out begins at zero (:mod:`cyclegan.engine.cutting`).
"""

import contextlib
import math
import threading
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING, Any

from cyclegan.colour import colour_of, format_of, rgb_from_picture
from cyclegan.demuxing import demuxed
from cyclegan.engine.cameras import camera_packets
from cyclegan.engine.cutting import Cutter, Part
from cyclegan.engine.endings import Ending
from cyclegan.engine.endpoints import AnyPath, Input, input_from
from cyclegan.engine.findings import Findings
from cyclegan.engine.hardware import Decoder
from cyclegan.engine.joined_times import JoinedTimes
from cyclegan.engine.layout import (
    Decoded,
    FromDecoded,
    Layout,
    TimedFrame,
    lost_of,
)
from cyclegan.engine.opening import (
    close_video,
    is_chapters,
    is_cover,
    is_still_of_animation,
    open_video,
)
from cyclegan.engine.pipes import Pipe, is_for_us
from cyclegan.errors import StoppedEarlyError, VideoError
from cyclegan.side_data import display_matrix

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.stream import Stream

COPIED = ("audio", "subtitle")
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
        self.stop = stop or threading.Event()
        """Ends reading."""
        self._closed = False
        self._abandoned = threading.Event()
        self._pipe = Pipe(self.source, self._is_unwanted) if is_for_us(self.source) else None
        try:
            self._container, self.video = open_video(self.source, decoder, keep_on, self._pipe)
        except BaseException as error:
            self._close_pipe()
            if isinstance(error, VideoError) and self.stop.is_set():
                raise StoppedEarlyError(f"stopped before {self.name} gave a frame") from error
            raise
        streams, video = self._container.streams, self.video
        # Decoding frame by frame in threads holds back as many frames as there are threads, and
        # NVDEC needs none.
        on_gpu = decoder != "cpu" and video.codec_context.is_hwaccel
        video.thread_type = "SLICE" if live or on_gpu else "AUTO"
        self.decoder = "NVDEC" if on_gpu else video.codec_context.codec.name
        """What decodes, in words."""
        video.codec_context.options = {"max_pixels": str(self.source.most_decoded)}
        self.copied: list[Stream] = [s for s in streams if s.type in COPIED]
        self.attachments: list[Any] = [s for s in streams if s.type == "attachment"]
        kept = (self.video, *self.copied, *self.attachments)
        self.left: list[Stream] = [
            s
            for s in streams
            if s not in kept
            and not is_chapters(self._container, s)
            and not is_still_of_animation(self._container, s)
        ]
        self.skipped = 0
        """Frames at the beginning that are decoded and passed over."""
        self._found = Findings(self.source, self.part, self._container, video)
        self.problems: list[str] = self._found.problems
        """What was damaged or missing, found while reading."""
        self.layout: Layout | None = None
        """Known from the first frame on."""
        self.convert: FromDecoded = rgb_from_picture
        """Makes of decoded frames what it gives: RGB of 8 bits, unless another is set."""
        self._begun: Iterator[Decoded | Packet[Any]] | None = None
        self._size: tuple[int, int] | None = None
        self._next_pts = 0
        self._times = JoinedTimes(self._container)
        self._cutter = Cutter(self.part, self._container, self.video)
        others = [stream for stream in self.left if not is_cover(stream)]
        self._ending = Ending(
            self._container, self.video, self._pipe, copied=self.copied, left=others
        )

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def abandon(self) -> None:
        """Wait for nothing more: what is being read in another thread is not wanted any more."""
        self._abandoned.set()

    def _is_unwanted(self) -> bool:
        return self.stop.is_set() or self._abandoned.is_set()

    def close(self) -> None:
        """Let go of the source; may be called again."""
        if not self._closed:
            self._closed = True
            close_video(self.source, self._container)
            self._close_pipe()

    def _close_pipe(self) -> None:
        if self._pipe:
            self._pipe.close()

    @property
    def expected_frames(self) -> int | None:
        """How many frames the source says it has, or about as many; None if it does not."""
        rate, stated = self.video.average_rate, self._container.duration
        if self.part.start or self.part.end is not None:
            end = self.part.end if not stated else min(self.part.end or math.inf, stated / 1e6)
            return round((end - self.part.start) * rate) if end and rate else None
        if self.video.frames:
            return int(self.video.frames)
        return round(float(stated / 1e6 * rate)) if stated and rate else None

    @property
    def bits(self) -> int:
        """Of a channel, in the deepest picture so far."""
        return self._found.bits

    @property
    def notes(self) -> list[str]:
        """What was unusual, and is no damage, found while reading."""
        return self._found.notes(self._times)

    @property
    def metadata(self) -> dict[str, str]:
        """The file's own: title, date, and the like."""
        return dict(self._container.metadata)

    def chapters(self) -> list[Any]:
        """PyAV's chapters, cut to the part that is read."""
        return self._cutter.chapters()

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
        return self._found.why_empty(self._ending.video_seconds)

    def items(self) -> Iterator["TimedFrame | Packet[Any]"]:
        """Frames and packets to copy, in the source's order; ends early at damage."""
        for item in self._begun or self._raw_items():
            if not isinstance(item, Decoded):
                yield item
            elif self._found.frames > self.skipped:
                yield item.picture(self.convert)

    def copies(self) -> Iterator["Packet[Any]"]:
        """The packets to copy alone, in the source's order; ends early at damage."""
        import av

        self._cutter.seek()
        if not self.copied:
            return
        with contextlib.suppress(av.FFmpegError, ValueError):
            for packet in self._demuxed():
                if packet.stream is not self.video:
                    yield from self._copied(packet)

    def _raw_items(self) -> Iterator["Decoded | Packet[Any]"]:
        """As :meth:`items`, but that nothing is made of the frames yet."""
        import av

        found = self._found
        self._cutter.seek()
        try:
            for packet in self._until_error():
                if self.stop.is_set():
                    return
                self._ending.note(packet)
                is_video = packet.stream is self.video
                if is_video:
                    found.count(packet)
                if found.done and self._ends_at(packet):
                    break
                if not is_video:
                    yield from self._copied(packet)
                elif not found.done:
                    yield from self._pictures(packet)
                    if found.changed:
                        return
        except (av.FFmpegError, ValueError) as error:
            found.stopped(error)
        if self._pipe:
            self._pipe.check()
        if not self.stop.is_set():  # which may have come within a picture
            found.conclude(self._ending, excused=self._times.excused)

    def _ends_at(self, packet: "Packet[Any]") -> bool:
        """Whether nothing from ``packet`` on is wanted, where no more frames are."""
        nothing_else = packet.stream is self.video and not self.copied
        return nothing_else or self._cutter.is_past(packet)

    def _pictures(self, packet: "Packet[Any]") -> Iterator[Decoded]:
        """What a packet of the video decodes to, as far as it lies within the part."""
        import av

        found = self._found
        try:
            decoded = packet.decode()
        except (av.FFmpegError, ValueError):
            found.undecodable(packet)
            return
        for picture in decoded:
            self._cutter.set_time(picture)
            if self._cutter.is_late(picture):
                found.late(self._cutter.seconds_of(picture))
                continue
            if self._cutter.is_early(picture):
                found.early()
                continue
            if problem := self._changes(picture):
                found.differs(problem)
                return
            yield self._decoded(picture)

    def _until_error(self) -> "Iterator[Packet[Any]]":
        """Packets, and after an error an empty one, for which decoders give what they hold back."""
        import av

        try:
            yield from self._packets()
        except (av.FFmpegError, OSError, ValueError) as error:
            self._found.ended_by(error)
            last: Packet[Any] = av.Packet()
            last.stream = self.video
            yield last

    def _packets(self) -> "Iterator[Packet[Any]]":
        if self.source.is_camera:
            silence = self.source.timeout or float("inf")
            return camera_packets(self._container, self.video, silence, self.stop)
        return self._demuxed()

    def _demuxed(self) -> "Iterator[Packet[Any]]":
        times = self._times = JoinedTimes(self._container)
        return times.moved(demuxed(self._container, self.video, *self.copied))

    def _copied(self, packet: "Packet[Any]") -> Iterator["Packet[Any]"]:
        if (kept := self._cutter.packet(packet)) is not None:
            yield kept

    def _changes(self, picture: "VideoFrame") -> str | None:
        size = picture.width, picture.height
        known = self._size = self._size or size
        if size != known:
            return (
                f"frames change from {known[0]}x{known[1]} to {picture.width}x{picture.height}; "
                "cut the video there and translate the parts"
            )
        is_series = self._container.format.name == "image2"
        if is_series and self.layout and display_matrix(picture) != self.layout.display_matrix:
            return (
                f"picture {self._found.frames + 1} is turned another way than the first, by its "
                "EXIF data; translate their folder, which sets pictures upright"
            )
        return None

    def _decoded(self, picture: "VideoFrame") -> "Decoded":
        self.layout = self.layout or self._layout(picture)
        self._found.see(picture)
        pts = max(self._cutter.time_of(picture), self._next_pts)  # times may stand still
        self._next_pts = pts + 1
        duration = self._cutter.duration_of(picture, pts)
        return Decoded(picture, pts, duration, self.part.size)

    def _layout(self, picture: "VideoFrame") -> Layout:
        self._next_pts = self._cutter.time_of(picture)  # times may begin below zero
        rate = self.video.average_rate or self.video.guessed_rate or Fraction(25)
        height, width = self.part.size or (picture.height, picture.width)
        aspect = self.video.sample_aspect_ratio or None  # 0 of one that is not known, since PyAV 19
        if self.part.size:
            # The same shape on the screen.
            aspect = (aspect or 1) * Fraction(picture.width * height, picture.height * width)
        return Layout(
            width=width,
            height=height,
            time_base=self._cutter.base(picture),
            rate=rate if 0 < rate <= _FASTEST_RATE else Fraction(25),
            pixel_aspect=aspect,
            display_matrix=display_matrix(picture),
            colour=colour_of(picture),
            format=format_of(picture),
            lost=lost_of(picture),
        )
