"""Videos, written with PyAV: to files, pipes and addresses.

H height, W width. A writer takes translated frames and the packets that are copied. What the
container cannot hold is left out, and said in ``notes``.
"""

import contextlib
import errno
import io
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclegan.engine.colour import as_rgb, bits_of, picture_from_rgb
from cyclegan.engine.containers import VideoReader
from cyclegan.engine.encoding import SLOTTED, TIMELESS, Chosen, Encoding, VideoDepth, choose, holds
from cyclegan.engine.layout import Picture
from cyclegan.engine.planes import Planes, picture_from_planes
from cyclegan.engine.sources import Output, output_to, unspoken
from cyclegan.errors import OutputError, VideoError, reason_of
from cyclegan.files import name_for_ffmpeg

if TYPE_CHECKING:
    from av import Packet
    from av.stream import Stream

_TURNS = ("mov", "mp4", "matroska", "webm")
"""Containers that can tell players to turn the pictures."""
_SHAPES = ("mov", "mp4", "ipod", "asf", "ogg", "null")
"""Containers that keep the shape of pixels whatever the codec; PyAV cannot set it for others."""
_SHAPED = ("h264", "hevc", "mpeg4", "mpeg2video", "mjpeg", "png")
"""Codecs that keep it themselves."""
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE)
_ALPHA = "alpha_mode"
"""Tells that VP8 or VP9 has transparency, which lies beside its pictures."""
_OF_THE_SOURCE = (_ALPHA, "duration")
"""Tags that say of the source what need not hold for the result. Matroska writes its own length,
but into a pipe, where it would believe this one."""
_OF_THE_ENCODING = ("encoder", "bps", "number_of_frames", "number_of_bytes", "_statistics")
"""What such tags of a stream begin with that is encoded anew."""
_TRIED = ("mov", "mp4", "ipod", "matroska", "webm")
"""Containers that tell by their header alone which streams they hold."""
_UNORDERED = (*SLOTTED, "asf")
"""Containers with one time for a frame, when it is decoded: all must be shown in that order."""
_RATES_ALONE = ("mpeg1video", "mpeg2video")
"""Codecs whose frames come at one rate."""
_FINEST_MPEG4 = (1 << 16) - 1
"""Ticks of a second that MPEG-4 can count."""
_GIF_TICKS = 100
"""Of a second: no frame of a GIF is shorter."""
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
        codec; VideoError for an encoder that is not to be had or refuses its settings.
        """
        import av

        assert reader.layout is not None
        output = target if isinstance(target, Output) else output_to(target)
        self._layout = reader.layout
        self._width = width or reader.layout.width
        self._depth, self._live = depth, live
        self.notes: list[str] = []
        """What could not be taken along."""
        try:
            self._container: Any = av.open(
                name_for_ffmpeg(output.url) if output.is_file else output.url,
                "w",
                format=output.format,
                options=_options(output),
            )
        except (av.FFmpegError, ValueError) as error:
            why = reason_of(error)
            raise OutputError(f"cannot write {output.name}: {why}") from error
        self._form: str = self._container.format.name
        self._name = output.name
        self._is_one_picture = self._form == "image2" and "%" not in output.url
        try:
            self._container.metadata.update(reader.metadata)
            self._video = self._add_video(reader, encoding or Encoding(), Path(output.name).suffix)
            self._copies = {stream: self._add_copy(stream) for stream in reader.copied}
            self._add_attachments(reader)
            self._add_chapters(reader)
            self._container.start_encoding()
        except av.error.ProtocolNotFoundError as error:
            self.discard()
            raise OutputError(f"cannot write {output.name}: {unspoken(output.url)}") from error
        except (av.FFmpegError, ValueError) as error:
            self.discard()
            if getattr(error, "errno", None) in _OF_THE_DISK:
                raise
            why = reason_of(error)
            if "://" in output.url and isinstance(error, OSError):
                raise OutputError(f"cannot write {output.name}: {why}") from error
            raise VideoError(
                f"{self.chosen.encoder} refuses {self._width}x{self._layout.height} frames in "
                f"{self.chosen.pixel_format}, or {self._form} files refuse its result: {why}"
            ) from error
        except BaseException:
            self.discard()
            raise
        self._note_losses(reader)
        self._steps: set[int] = set()
        self._last_pts: int | None = None
        self._slot: int | None = None
        self._crowded = 0

    def _note_losses(self, reader: VideoReader) -> None:
        """What of the source no result gets, or not one of this form."""
        self.notes += [f"{_name(stream)} was left out" for stream in reader.left]
        if _has_alpha(reader):
            self.notes.append("the transparency of the source was left out")
        if self._form == "gif":
            self.notes.append("gif knows few colours: pictures were reduced to 256 fixed ones")
        self.notes += [f"left out: {lost}" for lost in self._layout.lost]

    def write(self, item: "Picture | Packet[Any]") -> None:
        """Encode a translated frame, or copy a packet of the source."""
        if isinstance(item, Picture):
            self._container.mux(self.encode(item, self._video))
        elif (stream := self._copies[item.stream]) is not None:
            item.stream = stream
            self._container.mux(item)

    def encode(self, item: Picture, encoder: Any) -> "list[Packet[Any]]":
        """The packets that ``encoder`` gives for one more frame."""
        if self._last_pts is not None:
            self._steps.add(item.pts - self._last_pts)
        self._last_pts = item.pts
        if isinstance(item.frame, Planes):
            picture = picture_from_planes(item.frame, self.chosen.pixel_format, self._colour)
        else:
            picture = picture_from_rgb(item.frame, self.chosen.pixel_format, self._colour)
        if (when := self._time_of(item)) is None:
            self._crowded += 1
            return []
        if when and self._is_one_picture:
            raise OutputError(
                f"{self._name} is one picture, and there are more frames: number them, as in "
                "frame%05d.png"
            )
        picture.pts, picture.time_base = when, self._base
        if self._is_even:
            picture.duration = 1
        elif self._form != "gif":
            picture.duration = item.duration
        packets: list[Packet[Any]] = encoder.encode(picture)
        return packets

    def _time_of(self, item: Picture) -> int | None:
        """In units of ``_base``; None where those before it have left no room for the frame."""
        if self._base == self._layout.time_base and not self._is_even:
            return item.pts
        nearest = round(item.pts * self._layout.time_base / self._base)
        if self._form in TIMELESS:
            nearest = 0  # they are counted
        if self._slot is not None and nearest <= self._slot:
            if not self._is_even:
                return None
            nearest = self._slot + 1
        self._slot = nearest
        return nearest

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

    def mux(self, packet: "Packet[Any]") -> None:
        """Write a packet of a fresh encoder, instead of frames."""
        packet.stream = self._video
        self._container.mux(packet)

    def close(self) -> None:
        """Write what the encoder holds back, and the end of the file."""
        self._container.mux(self._video.encode(None))
        self.finish()

    def finish(self) -> None:
        """Write the end of the file."""
        self._container.close()
        if self._crowded:
            self.notes.append(
                f"gif holds {_GIF_TICKS} frames/s at most: {self._crowded} frames were left out"
            )
        if not self._steps or max(self._steps) <= 1.5 * min(self._steps):
            return
        vary, rate = "the times of the frames vary", f"{float(self._layout.rate):.3f} frames/s"
        if self._form in TIMELESS:
            self.notes.append(
                f"{vary}, and {self._form} has none: they were taken to come at {rate}"
            )
        elif self._has_slots:
            what = self._form if self._form in SLOTTED else self.chosen.encoder
            self.notes.append(
                f"{vary}, and {what} knows one rate: they were moved to the nearest of {rate}"
            )

    def discard(self) -> None:
        """Let go of a file that nobody wants any more."""
        with contextlib.suppress(Exception):
            self._container.close()

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
        if not holds(
            self._form, self._container.supported_codecs, {chosen.encoder, chosen.canonical}
        ):
            others = [name for name in (".mp4", ".mov", ".mkv", ".avi") if name != suffix.lower()]
            raise OutputError(
                f"{self._form} files cannot hold {chosen.canonical} video; others are "
                f"{', '.join(others)}"
            )
        stream = self._container.add_stream(
            chosen.encoder, rate=layout.rate, options=chosen.options
        )
        stream.width, stream.height = self._width, layout.height
        stream.pix_fmt = chosen.pixel_format
        pixels = stream.codec_context.format
        self.is_deep = bits_of(pixels) > 8
        """Whether the result has more than 8 bits a channel."""
        self._colour = as_rgb(layout.colour) if pixels.is_rgb else layout.colour
        self._describe(stream)
        stream.metadata.update(
            {
                key: text
                for key, text in _lasting(reader.video.metadata).items()
                if not key.lower().startswith(_OF_THE_ENCODING)
            }
        )
        stream.disposition = reader.video.disposition
        return stream

    @property
    def _has_slots(self) -> bool:
        """Whether frames come at one rate, and are moved to its nearest time."""
        codec, base = self.chosen.canonical, self._layout.time_base
        too_fine = codec == "mpeg4" and max(base.numerator, base.denominator) > _FINEST_MPEG4
        return self._form in SLOTTED or codec in _RATES_ALONE or too_fine

    @property
    def _is_even(self) -> bool:
        """Whether every frame lasts as long as every other."""
        return self._form in TIMELESS or self._has_slots

    @property
    def _base(self) -> Fraction:
        """The unit of the result's times, in seconds."""
        if self._is_even:
            return 1 / self._layout.rate
        return Fraction(1, _GIF_TICKS) if self._form == "gif" else self._layout.time_base

    def _describe(self, stream: Any) -> None:
        """Times, shape of pixels, colours and rotation, as the source has them."""
        layout, context = self._layout, stream.codec_context
        context.time_base = stream.time_base = self._base
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

    def _add_copy(self, stream: "Stream") -> Any:
        """A stream like ``stream`` for its packets, or None (and a note) if the format has none."""
        name = stream.codec_context.name if stream.codec_context else "unknown"
        canonical = stream.codec_context.codec.canonical_name if stream.codec_context else name
        if self._form == "null":
            return None
        if self._form in _TRIED:
            held = _takes(self._form, stream)
        else:
            held = holds(self._form, self._container.supported_codecs, {name, canonical})
        if not held:
            elsewhere = "; .mkv can" if _takes("matroska", stream) else ""
            self.notes.append(
                f"{_name(stream)} ({name}) was left out: {self._form} files cannot hold it"
                f"{elsewhere}"
            )
            return None
        copy = self._container.add_stream_from_template(stream)
        copy.metadata.update(_lasting(stream.metadata))
        copy.disposition = stream.disposition
        return copy

    def _add_attachments(self, reader: VideoReader) -> None:
        for stream in reader.attachments:
            if self._form == "matroska" and stream.mimetype:
                name = stream.metadata.get("filename", "attachment")
                self._container.add_attachment(name, stream.mimetype, stream.data)
            else:
                self.notes.append(f"{_name(stream)} was left out; .mkv can hold it")

    def _add_chapters(self, reader: VideoReader) -> None:
        chapters = reader.chapters()
        if chapters and self._form in _TURNS:
            self._container.set_chapters(chapters)
        elif chapters:
            self.notes.append(
                f"{len(chapters)} chapters were left out; .mp4 and .mkv can hold them"
            )


def _takes(form: str, stream: "Stream") -> bool:
    """Whether a file of that form, with nothing else in it, can begin with such a stream."""
    import av

    try:
        with av.open(io.BytesIO(), "w", format=form) as container:
            container.add_stream_from_template(stream)
            container.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True


def _options(output: Output) -> dict[str, str]:
    options = dict(output.options)
    if output.is_file and Path(output.url).suffix.lower() in (".mp4", ".mov", ".m4v"):
        options["movflags"] = "+faststart"
    if output.format == "yuv4mpegpipe" or output.url.lower().endswith(".y4m"):
        options["strict"] = "unofficial"  # more than 8 bits
    return options


def _lasting(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: text for key, text in tags.items() if key.lower() not in _OF_THE_SOURCE}


def _has_alpha(reader: VideoReader) -> bool:
    assert reader.layout is not None
    told = {key.lower(): text for key, text in reader.video.metadata.items()}
    return told.get(_ALPHA) == "1" or any(p.is_alpha for p in reader.layout.format.components)


def _name(stream: "Stream") -> str:
    return f"{stream.type} stream {stream.index}"
