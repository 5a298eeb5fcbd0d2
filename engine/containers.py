"""Video files, read and written with PyAV.

H height, W width. A reader yields decoded frames, and the packets of the streams that are copied,
in the order of the file; a writer takes translated frames and those packets. Times stay the
integers that the source has, in its own time base.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclegan.engine.colour import Colour, colour_of, picture_from_rgb, rgb_from_picture
from cyclegan.engine.tickets import Frames
from cyclegan.errors import OutputError, VideoError

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.stream import Stream

COPIED = ("audio", "subtitle")
_STATED_DURATION = ("mov,mp4", "matroska")
"""Formats that state their duration; others have it guessed from what there is."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A decoded frame."""

    frame: Frames
    """RGB, uint8 (H, W, 3)."""
    pts: int
    """Presentation time in units of the stream's time base."""
    duration: int
    """In the same unit; 0 if unknown."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What all frames of a video have in common."""

    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    """Average frames per second, for the encoder's rate control."""
    pixel_aspect: Fraction | None
    rotation: int
    """Degrees that players turn the pictures by."""
    colour: Colour


class VideoReader:
    """Decodes the best video stream of a file. Use it as a context manager."""

    def __init__(self, path: Path) -> None:
        import av

        try:
            self._container: Any = av.open(str(path))
        except av.FFmpegError as error:
            raise VideoError(f"cannot read {path} as a video: {error.strerror}") from error
        streams = self._container.streams
        if not streams.video:
            self._container.close()
            raise VideoError(f"{path} has no video stream")
        self.path = path
        video: Any = streams.best("video")
        video.thread_type = "AUTO"
        self.video = video
        self.copied: list[Stream] = [s for s in streams if s.type in COPIED]
        self.left: list[Stream] = [s for s in streams if s not in (self.video, *self.copied)]
        self.problems: list[str] = []
        """What was damaged or missing, found while reading."""
        self.layout: Layout | None = None
        """Known from the first frame on."""
        self._next_pts = 0
        self._end_seconds = self._video_end_seconds = 0.0

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *error: object) -> None:
        self._container.close()

    @property
    def expected_frames(self) -> int | None:
        """How many frames the file says it has, or about as many; None if it does not."""
        if self.video.frames:
            return int(self.video.frames)
        if self._container.duration and self.video.average_rate:
            return round(float(self._container.duration / 1e6 * self.video.average_rate))
        return None

    @property
    def metadata(self) -> dict[str, str]:
        """The file's own: title, date, and the like."""
        return dict(self._container.metadata)

    def items(self) -> Iterator["Picture | Packet[Any]"]:
        """Frames and packets to copy, in the file's order; ends early at damage (``problems``)."""
        import av

        packets = self._container.demux(self.video, *self.copied)
        count = damaged = 0
        try:
            for packet in packets:
                self._note_end(packet)
                if packet.stream is not self.video:
                    if packet.pts is not None or packet.dts is not None:
                        packet.dts = packet.pts if packet.dts is None else packet.dts
                        yield packet
                    continue
                count += packet.size > 0
                damaged += bool(packet.is_corrupt)
                try:
                    decoded = packet.decode()
                except av.FFmpegError:
                    damaged += 1
                    continue
                for picture in decoded:
                    yield self._picture(picture)
        except av.FFmpegError as error:
            self.problems.append(f"reading stopped: {error.strerror}")
        if damaged:
            self.problems.append(f"{damaged} packets are damaged")
        self._check_end(count)

    def _picture(self, picture: "VideoFrame") -> Picture:
        layout = self.layout = self.layout or self._layout(picture)
        if (picture.width, picture.height) != (layout.width, layout.height):
            raise VideoError(
                f"{self.path}: frames change from {layout.width}x{layout.height} to "
                f"{picture.width}x{picture.height}; cut the video there and translate the parts"
            )
        # Files without times (raw streams), or with times that stand still, count on.
        pts = self._next_pts if picture.pts is None else max(picture.pts, self._next_pts)
        duration = int(picture.duration or 0)
        step = duration if picture.pts is None else 1
        self._next_pts = pts + max(step, 1)
        return Picture(
            frame=rgb_from_picture(picture, colour_of(picture)), pts=pts, duration=duration
        )

    def _layout(self, picture: "VideoFrame") -> Layout:
        # Times may begin below zero.
        self._next_pts = picture.pts if picture.pts is not None else 0
        return Layout(
            width=picture.width,
            height=picture.height,
            time_base=picture.time_base or self.video.time_base,
            rate=self.video.average_rate or self.video.guessed_rate or Fraction(25),
            pixel_aspect=self.video.sample_aspect_ratio,
            rotation=int(picture.rotation),
            colour=colour_of(picture),
        )

    def _note_end(self, packet: "Packet[Any]") -> None:
        if packet.pts is not None:
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            self._end_seconds = max(self._end_seconds, end)
            if packet.stream is self.video:
                self._video_end_seconds = max(self._video_end_seconds, end)

    def _check_end(self, packets: int) -> None:
        """Note it if the file ends before it said it would."""
        if packets < self.video.frames and self._video_ends_early():
            self.problems.append(f"it ends after {packets} of {self.video.frames} frames")
        elif self._container.duration and self._container.format.name.startswith(_STATED_DURATION):
            stated = self._container.duration / 1e6 + max(self._container.start_time or 0, 0) / 1e6
            if self._end_seconds < stated - max(1.0, 0.02 * stated):
                self.problems.append(
                    f"it ends after {self._end_seconds:.1f} of {stated:.1f} seconds"
                )

    def _video_ends_early(self) -> bool:
        """Whether the frames end before the stated time; a trimmed clip also counts hidden ones."""
        if self.video.duration is None:
            return True
        stated = float((self.video.duration + (self.video.start_time or 0)) * self.video.time_base)
        frame = 1 / float(self.video.average_rate or 25)
        return self._video_end_seconds < stated - 1.5 * frame


class VideoWriter:
    """Encodes frames and copies packets into a new file."""

    def __init__(self, path: Path, reader: VideoReader, *, encoder: str, quality: int) -> None:
        import av

        assert reader.layout is not None
        self._layout = reader.layout
        self.notes: list[str] = []
        """Streams that could not be taken along."""
        try:
            options = {"movflags": "+faststart"} if path.suffix in (".mp4", ".mov", ".m4v") else {}
            self._container: Any = av.open(str(path), "w", options=options)
        except ValueError as error:
            raise OutputError(
                f"{path.suffix!r} is no video format that can be written; use .mp4, .mov or .mkv"
            ) from error
        try:
            self._container.metadata.update(reader.metadata)
            self._video = self._add_video(reader, encoder, quality)
            self._copies = {stream: self._add_copy(stream) for stream in reader.copied}
        except BaseException:
            self.discard()
            raise
        self.notes += [f"{_name(stream)} was left out" for stream in reader.left]

    def write(self, item: "Picture | Packet[Any]") -> None:
        """Encode a translated frame, or copy a packet of the source."""
        if isinstance(item, Picture):
            self._write_picture(item)
        elif (stream := self._copies[item.stream]) is not None:
            item.stream = stream
            self._container.mux(item)

    def close(self) -> None:
        """Write what the encoder holds back, and the end of the file."""
        self._container.mux(self._video.encode(None))
        self._container.close()

    def discard(self) -> None:
        """Let go of a file that nobody wants any more."""
        with contextlib.suppress(Exception):
            self._container.close()

    def _write_picture(self, item: Picture) -> None:
        picture = picture_from_rgb(item.frame, self._video.pix_fmt, self._layout.colour)
        picture.pts, picture.time_base = item.pts, self._layout.time_base
        picture.duration = item.duration
        self._container.mux(self._video.encode(picture))

    def _add_video(self, reader: VideoReader, encoder: str, quality: int) -> Any:
        import av

        try:
            codec = av.Codec(encoder, "w")
        except av.codec.codec.UnknownCodecError as error:
            raise VideoError(
                f"this FFmpeg has no encoder {encoder!r}; use libx264, or another of those that "
                "`python -m av --codecs` lists"
            ) from error
        if codec.canonical_name not in self._container.supported_codecs:
            raise OutputError(
                f"{self._container.format.name} files cannot hold {codec.canonical_name} video; "
                "use .mp4, .mov or .mkv"
            )
        layout = self._layout
        stream = self._container.add_stream(
            encoder, rate=layout.rate, options={"crf": str(quality)}
        )
        stream.width, stream.height = layout.width, layout.height
        even = layout.width % 2 == layout.height % 2 == 0
        stream.pix_fmt = "yuv420p" if even else "yuv444p"
        context = stream.codec_context
        context.time_base = stream.time_base = layout.time_base
        if layout.pixel_aspect is not None:
            context.sample_aspect_ratio = layout.pixel_aspect
        context.colorspace, context.color_range = layout.colour.matrix, layout.colour.range
        context.color_primaries = layout.colour.primaries
        context.color_trc = layout.colour.transfer
        if layout.rotation:
            stream.set_display_rotation(layout.rotation)
        stream.metadata.update(reader.video.metadata)
        return stream

    def _add_copy(self, stream: "Stream") -> Any:
        """A stream like ``stream`` for its packets, or None (and a note) if the format has none."""
        name = stream.codec_context.name if stream.codec_context else "unknown"
        canonical = stream.codec_context.codec.canonical_name if stream.codec_context else name
        if not {name, canonical} & self._container.supported_codecs:
            self.notes.append(
                f"{_name(stream)} ({name}) was left out: {self._container.format.name} files "
                "cannot hold it; .mkv can"
            )
            return None
        copy = self._container.add_stream_from_template(stream)
        copy.metadata.update(stream.metadata)
        copy.disposition = stream.disposition
        return copy


def _name(stream: "Stream") -> str:
    return f"{stream.type} stream {stream.index}"
