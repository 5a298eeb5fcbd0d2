"""Videos, written with PyAV: to files, pipes and addresses.

H height, W width. A writer takes translated frames and the packets that are copied. What the
container cannot hold is left out, and said in ``notes``: beside the pictures
(:mod:`cyclegan.engine.carried`), of their times (:mod:`cyclegan.engine.frame_times`), and of what
they look like.
"""

import contextlib
import errno
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclegan.colour import bits_of, picture_from_rgb
from cyclegan.engine import carried
from cyclegan.engine.containers import VideoReader
from cyclegan.engine.durations import Durations, TrackEnd
from cyclegan.engine.encoding import Chosen, Encoding, choose
from cyclegan.engine.endpoints import Output, output_to, unspoken
from cyclegan.engine.frame_times import FrameTimes
from cyclegan.engine.frames import VideoDepth
from cyclegan.engine.layout import TimedFrame
from cyclegan.engine.muxers import OUT_OF_ORDER, SLOTTED, holds
from cyclegan.engine.opened_output import open_output, sink_of
from cyclegan.engine.planes import Planes, picture_from_planes
from cyclegan.engine.result_colour import result_colour
from cyclegan.engine.sinks import Sink
from cyclegan.errors import OutputError, VideoError, reason_of

if TYPE_CHECKING:
    from av import Packet

_TURNS = ("mov", "mp4", "matroska", "webm")
"""Containers that can tell players to turn the pictures."""
_SHAPES = ("mov", "mp4", "ipod", "asf", "ogg", "null")
"""Containers that keep the shape of pixels whatever the codec; PyAV cannot set it for others."""
_SHAPED = ("h264", "hevc", "mpeg4", "mpeg2video", "mjpeg", "png")
"""Codecs that keep it themselves."""
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE)
_UNORDERED = (*SLOTTED, "asf")
"""Containers with one time for a frame, when it is decoded: all must be shown in that order."""
_TOO_FEW = 2
"""Frames of which libx265 leaves it to chance when they are decoded; it is in their order."""
_SETTINGS = (
    "width",
    "height",
    "pix_fmt",
    "time_base",
    "framerate",
    "sample_aspect_ratio",
    "colorspace",
    "color_range",
    "color_primaries",
    "color_trc",
    "flags",
    "thread_type",
)
"""Of a codec context, where they shape what it makes."""


class VideoWriter:
    """Encodes frames and copies packets into a new file, pipe or stream."""

    def __init__(
        self,
        target: Output | Path,
        reader: VideoReader,
        encoding: Encoding | None = None,
        *,
        width: int | None = None,
        depth: VideoDepth = "auto",
        live: bool = False,
    ) -> None:
        """Frames are as ``reader`` lays them out, but ``width`` wide where that is given. ``depth``
        is the one that they are asked to be translated with.

        Raises OutputError where nothing can be written there, or the container cannot hold the
        codec; StoppedEarlyError where the reader is stopped before anybody reads a named pipe;
        VideoError for an encoder that is not to be had or refuses its settings.
        """
        assert reader.layout is not None
        output = target if isinstance(target, Output) else output_to(target)
        self._layout = reader.layout
        self._width = width or reader.layout.width
        self._depth, self._live = depth, live
        self.notes: list[str] = []
        """What could not be taken along."""
        self._sink: Sink | None = None
        self._container: Any = open_output(output)
        if output.is_stream and not self._container.format.no_file:
            self._sink = sink_of(output, reader.stop)
            self._container = open_output(output, self._sink)
        self._form: str = self._container.format.name
        self._name = output.name
        self._durations, self._end = Durations(), TrackEnd(self._form)
        self._first_shown: Fraction | None = None
        """In seconds; None: no picture has been written yet."""
        self._is_one_picture = self._form == "image2" and output.is_file
        try:
            self._begin(reader, output, encoding or Encoding())
        except BaseException as error:
            self.discard()
            if refusal := self._refusal(error, output):
                raise refusal from error
            raise
        self.notes += carried.losses(self._form, reader)

    def write(self, item: "TimedFrame | Packet[Any]") -> None:
        """Encode a translated frame, or copy a packet of the source."""
        if isinstance(item, TimedFrame):
            self._mux(self.encode(item, self._video))
        elif (copy := self._copies[item.stream]) is not None and copy.take(item):
            self._container.mux(item)

    def encode(self, item: TimedFrame, encoder: Any) -> "list[Packet[Any]]":
        """The packets that ``encoder`` gives for one more frame."""
        if isinstance(item.frame, Planes):
            picture = picture_from_planes(item.frame, self.chosen.pixel_format, self._colour)
        else:
            picture = picture_from_rgb(item.frame, self.chosen.pixel_format, self._colour)
        if (when := self._times.place(item.pts)) is None:
            return []
        if when and self._is_one_picture:
            raise OutputError(
                f"{self._name} is one picture, and there are more frames: number them, as in "
                "frame%05d.png"
            )
        picture.pts, picture.time_base = when, self._times.base
        self._durations.expect(when, self._times.duration(item.duration))
        return self._durations.told(encoder.encode(picture))

    def held_back(self, encoder: Any) -> "list[Packet[Any]]":
        """The packets that ``encoder`` has yet to give after its last frame."""
        packets: list[Packet[Any]] = encoder.encode(None)
        if self.chosen.encoder == "libx265" and len(packets) <= _TOO_FEW:
            for packet in packets:
                packet.dts = packet.pts
        return self._durations.told(packets)

    def fresh_encoder(self) -> Any:
        """A codec context with the same settings, for :meth:`encode`; see ``segments``."""
        import av

        own = self._video.codec_context
        fresh: Any = av.CodecContext.create(self.chosen.encoder, "w")
        for name in _SETTINGS:
            if (value := getattr(own, name)) is not None:
                setattr(fresh, name, value)
        fresh.bit_rate = own.bit_rate or 0
        if self._form in _UNORDERED:
            fresh.max_b_frames = 0
        fresh.options = dict(self.chosen.options)
        return fresh

    def go_on(self, last: int, left_out: int) -> None:
        """Frames that an earlier run placed, or left out, come before those of this one, up to
        ``last``."""
        self._times.go_on(last, left_out)

    def mux(self, packet: "Packet[Any]") -> None:
        """Write a packet of a fresh encoder, instead of frames."""
        self._mux([packet])

    def close(self) -> None:
        """Write what the encoder holds back, and the end of the file."""
        self._mux(self.held_back(self._video))
        self.finish()

    def finish(self) -> None:
        """Write the end of the file."""
        self._container.mux(self._end.rest())
        self._container.close()
        if self._sink:
            self._sink.close()
        self.notes += self._times.notes()
        for copy in self._copies.values():
            self.notes += copy.notes(float(self._first_shown or 0)) if copy else []

    def abandon(self) -> None:
        """Wait for nobody who reads: what is written in another thread is not wanted any more."""
        if self._sink:
            self._sink.abandon()

    def discard(self) -> None:
        """Let go of a file that nobody wants any more. Raises what interrupted writing it."""
        self.abandon()
        with contextlib.suppress(Exception):
            self._container.close()
        if self._sink:
            self._sink.close()

    def _begin(self, reader: VideoReader, output: Output, encoding: Encoding) -> None:
        """Write what comes before the first frame."""
        self._container.metadata.update(reader.metadata)
        self._video = self._add_video(reader, encoding, Path(output.name).suffix)
        self._copies = {
            stream: carried.add_copy(self._container, stream, self.notes, is_file=output.is_file)
            for stream in reader.copied
        }
        carried.add_attachments(self._container, reader, self.notes)
        carried.add_chapters(self._container, reader, self.notes)
        self._container.start_encoding()

    def _refusal(self, error: BaseException, output: Output) -> Exception | None:
        """What ``error`` at the beginning means; None where it says so itself."""
        import av

        if isinstance(error, av.error.ProtocolNotFoundError):
            return OutputError(f"cannot write {output.name}: {unspoken(output.url)}")
        code = getattr(error, "errno", None)
        if not isinstance(error, (av.FFmpegError, ValueError)) or code in _OF_THE_DISK:
            return None
        if code == errno.EINVAL and self._form in OUT_OF_ORDER and not output.is_file:
            return OutputError(
                f"cannot write {output.name}: the beginning of {self._form} is written last, "
                "which needs a file; give the name of one, or take mkv, ts or another "
                "container that needs no way back"
            )
        why = reason_of(error)
        if "://" in output.url and isinstance(error, OSError):
            return OutputError(f"cannot write {output.name}: {why}")
        return VideoError(
            f"{self.chosen.encoder} refuses {self._width}x{self._layout.height} frames in "
            f"{self.chosen.pixel_format}, or {self._form} files refuse its result: {why}"
        )

    def _mux(self, packets: "list[Packet[Any]]") -> None:
        for packet in packets:
            packet.stream = self._video
            if self._first_shown is None and packet.pts is not None:
                self._first_shown = packet.pts * packet.time_base
        self._container.mux(self._end.ready(packets))

    def _add_video(self, reader: VideoReader, encoding: Encoding, suffix: str) -> Any:
        layout = self._layout
        self.chosen: Chosen = choose(
            encoding,
            self._form,
            suffix.lower(),
            layout.format,
            size=(self._width, layout.height),
            live=self._live,
            depth=self._depth,
        )
        chosen = self.chosen
        self._times = FrameTimes(self._form, chosen, layout)
        if not holds(
            self._form, self._container.supported_codecs, {chosen.encoder, chosen.canonical}
        ):
            others = [name for name in (".mp4", ".mov", ".mkv", ".avi") if name != suffix.lower()]
            own = _usual_encoder(self._container)
            or_else = f", or name the encoder, such as {own}" if own else ""
            raise OutputError(
                f"{self._form} files cannot hold {chosen.canonical} video; others are "
                f"{', '.join(others)}{or_else}"
            )
        stream = self._container.add_stream(
            chosen.encoder, rate=self._times.rate, options=chosen.options
        )
        if not self._live:
            # By itself PyAV has pictures cut into a slice for each core, which takes more bytes.
            stream.codec_context.thread_type = "AUTO"
        stream.width, stream.height = self._width, layout.height
        stream.pix_fmt = chosen.pixel_format
        pixels = stream.codec_context.format
        self.bits = bits_of(pixels)
        """Of a channel, in the result."""
        self._colour = result_colour(
            layout.colour,
            pixels,
            codec=chosen.canonical,
            container=self._form,
            lines=layout.height,
        )
        self._describe(stream)
        carried.add_tags(stream, reader)
        return stream

    def _describe(self, stream: Any) -> None:
        """Times, shape of pixels, colours and rotation, as the source has them."""
        layout, context = self._layout, stream.codec_context
        context.time_base = stream.time_base = self._times.base
        if self._form in _UNORDERED:
            context.max_b_frames = 0
        if layout.pixel_aspect is not None:
            context.sample_aspect_ratio = layout.pixel_aspect
            self._check_shape(layout.pixel_aspect)
        context.colorspace, context.color_range = self._colour.matrix, self._colour.range
        context.color_primaries = self._colour.primaries
        context.color_trc = self._colour.transfer
        if layout.display_matrix and self._form in _TURNS:
            stream.set_display_matrix(layout.display_matrix)
        elif layout.display_matrix:
            self.notes.append(f"{self._form} cannot say how the pictures are turned; .mp4 can")

    def _check_shape(self, aspect: Fraction) -> None:
        """Note it if pixels that are not square will be taken for square ones."""
        if aspect != 1 and self._form not in _SHAPES and self.chosen.canonical not in _SHAPED:
            self.notes.append(
                f"the shape of the pixels, {aspect.numerator}:{aspect.denominator}, was left out: "
                f"{self._form} files of {self.chosen.canonical} do not get it; .mp4 does, and "
                "H.264 keeps it everywhere"
            )


def _usual_encoder(container: Any) -> str | None:
    """Of the video that ``container`` is for; None if it is for none, or this FFmpeg has none."""
    import av

    codec: str = container.default_video_codec
    try:
        av.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        return None
    return None if codec == "png" else codec  # the covers of songs
