"""What a result takes over of its source beside the pictures: sound, subtitles, tags, chapters.

``container`` is PyAV's, opened for writing. What it cannot hold is left out, and said in ``notes``.
"""

import contextlib
import io
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from cyclegan.engine.containers import VideoReader
from cyclegan.engine.findings import ALPHA
from cyclegan.engine.muxers import OUT_OF_ORDER, SLOTTED, holds
from cyclegan.engine.ticks import nearest_tick

if TYPE_CHECKING:
    from av import Packet
    from av.stream import Stream

_OF_THE_SOURCE = (ALPHA, "duration")
"""Tags that say of the source what need not hold for the result. Matroska writes its own length,
but into a pipe, where it would believe this one."""
_OF_THE_ENCODING = ("encoder", "bps", "number_of_frames", "number_of_bytes", "_statistics")
"""What such tags of a stream begin with that is encoded anew."""
_HEADER_TELLS = ("mov", "mp4", "ipod", "f4v", "ismv", "matroska", "webm")
"""Containers that tell by their header alone which streams they hold."""
_HEADER_REFUSES = ("avi", "asf", "flv", "mpegts")
"""Containers that list codecs, and refuse in their header such streams that lack what they need:
sound whose packets alone describe it, or of which none came, or of a rate that they do not know."""
_OF_FLV = (44100, 22050, 11025, 5512)
_RATES: Mapping[tuple[str, str], tuple[int, ...]] = {
    ("mxf", ""): (48000,),
    ("flv", "pcm_u8"): _OF_FLV,
    ("flv", "pcm_s16le"): _OF_FLV,
    ("flv", "pcm_s16be"): (),
    ("flv", "pcm_alaw"): (8000,),
    ("flv", "pcm_mulaw"): (8000,),
    ("avi", "eac3"): (),
}
"""Rates that a container knows of a codec's sound, or of any: its muxer takes others as well, which
then play at a wrong speed, or as noise, or it cannot be tried without pictures."""
_NEED_LAYOUT = ("mp4", "flv")
"""Containers that must know where the channels of sound belong: the muxer of .flv would end the
process, that of .mp4 fail once all is written."""
_AAC_RATES = (
    *(96000, 88200, 64000, 48000, 44100, 32000, 24000),
    *(22050, 16000, 12000, 11025, 8000, 7350),
)
_AAC_LAYOUTS = ("mono", "stereo", "3.0", "4.0", "5.0", "5.1")
"""By their numbers in AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1), of rates from 0, these from
1 on."""
_ROUNDED = 0.01
"""Seconds by which times of packets may be off, and sound has no pause."""
_HEARD = 0.1
"""Seconds that sound may be away from the pictures."""
_BEGIN, _PAUSES = "begins", "pauses"
"""What containers may not tell of sound."""
_HAVE_CHAPTERS = ("mov", "mp4", "matroska", "webm")


class Copy:
    """A copied stream. Muxers end in an error where times do not rise. Where units are as long as
    packets, two may round to one: the later goes to the next unit. What comes a unit too late or
    more, as where recordings overlap that were joined, is left out."""

    def __init__(self, container: Any, source: "Stream", stream: Any) -> None:
        """``stream`` is that of ``container`` for the packets of ``source``."""
        from av.format import Flags

        self._name, self._stream = _name(source), stream
        is_strict = not container.format.flags & Flags.ts_nonstrict.value
        self._step = int(is_strict and source.type != "subtitle")
        """By which times must rise at least."""
        self._last: int | None = None
        self._left_out = 0
        self._form: str = container.format.name
        self._forgotten = _forgotten(self._form, source)
        self._longest = _longest(source)
        self._begin: float | None = None
        """In seconds, as all that follows."""
        self._end: float | None = None
        """Of the packet before; None: not known."""
        self._pauses = 0.0

    def take(self, packet: "Packet[Any]") -> bool:
        """Make ``packet`` one of this stream; False where it is to be left out."""
        packet.stream = self._stream
        if packet.dts is None:
            return True
        exact = packet.dts * packet.time_base / self._stream.time_base
        when = nearest_tick(exact)
        if self._last is not None:
            when = max(when, self._last + self._step)
        if when - exact >= 1:
            self._left_out += 1
            return False
        self._last = when
        if self._forgotten:
            self._note_pause(packet)
        _set_times(packet, when, self._stream.time_base)
        return True

    def notes(self, first_shown: float) -> list[str]:
        """What was left out or moved, once all packets were given; the pictures begin at
        ``first_shown``."""
        notes = []
        if self._left_out:
            notes.append(
                f"{self._name}: {self._left_out} packets were left out, whose times are no later "
                "than those before them"
            )
        moved = self._pauses if _PAUSES in self._forgotten else 0.0
        if _BEGIN in self._forgotten and self._begin is not None:
            # Others than these do not tell when pictures begin either.
            moved += self._begin - (0 if self._form in SLOTTED else first_shown)
        if abs(moved) > _HEARD:
            far = f"{abs(moved):.2f} s too {'early' if moved > 0 else 'late'}"
            notes.append(
                f"{self._name} comes up to {far}: {self._form} cannot tell when it "
                f"{' or '.join(self._forgotten)}; .mkv can"
            )
        return notes

    def _note_pause(self, packet: "Packet[Any]") -> None:
        """What is missing between ``packet``, which has a time, and the one before."""
        assert packet.dts is not None
        begin = float(packet.dts * packet.time_base)
        if self._begin is None:
            self._begin = begin
        elif self._end is not None and abs(pause := begin - self._end) > _ROUNDED:
            self._pauses += pause
        length = min(float((packet.duration or 0) * packet.time_base), self._longest)
        self._end = begin + length if length else None


def _set_times(packet: "Packet[Any]", dts: int, base: Fraction) -> None:
    """Give ``packet`` times in units of ``base``: muxers round others in their own way."""
    ratio = packet.time_base / base
    if packet.pts is not None:
        packet.pts = max(nearest_tick(packet.pts * ratio), dts)
    packet.duration = nearest_tick((packet.duration or 0) * ratio)
    packet.dts, packet.time_base = dts, base


def add_copy(container: Any, stream: "Stream", notes: list[str], *, is_file: bool) -> Copy | None:
    """A stream like ``stream`` for its packets, or None (and a note) if the container has none.

    ``is_file``: what is written can be gone back to.
    """
    form = container.format.name
    if form == "null":
        return None
    context: Any = stream.codec_context
    if context is None:
        notes.append(f"{_name(stream)} was left out: this FFmpeg does not know its codec")
        return None
    name, canonical = context.name, context.codec.canonical_name
    held = form in _HEADER_TELLS or holds(form, container.supported_codecs, {name, canonical})
    rates = _RATES.get((form, canonical), _RATES.get((form, "")))
    if stream.type == "audio" and rates is not None:
        held = held and context.sample_rate in rates
    if held and form in (*_HEADER_TELLS, *_HEADER_REFUSES):
        held = _takes(form, stream, is_file=is_file)
    if not held:
        elsewhere = "; .mkv can" if _takes("matroska", stream, is_file=is_file) else ""
        notes.append(
            f"{_name(stream)} ({name}) was left out: {form} files cannot hold it{elsewhere}"
        )
        return None
    copy = _added(container, stream, is_file=is_file)
    copy.metadata.update(_lasting(stream.metadata))
    copy.disposition = stream.disposition
    return Copy(container, stream, copy)


def add_attachments(container: Any, reader: VideoReader, notes: list[str]) -> None:
    """Copy attached files, such as the fonts of subtitles, into the container; note the others."""
    for stream in reader.attachments:
        if container.format.name == "matroska" and stream.mimetype:
            name = stream.metadata.get("filename", "attachment")
            container.add_attachment(name, stream.mimetype, stream.data)
        else:
            notes.append(f"{_name(stream)} was left out; .mkv can hold it")


def add_chapters(container: Any, reader: VideoReader, notes: list[str]) -> None:
    """Write the chapters of the part that is read; note it where the container has none."""
    chapters = reader.chapters()
    if chapters and container.format.name in _HAVE_CHAPTERS:
        container.set_chapters(chapters)
    elif chapters:
        notes.append(f"{len(chapters)} chapters were left out; .mp4 and .mkv can hold them")


def add_tags(video: Any, reader: VideoReader) -> None:
    """Give the stream ``video`` those tags of the source's that still hold once encoded anew."""
    video.metadata.update(
        {
            key: text
            for key, text in _lasting(reader.video.metadata).items()
            if not key.lower().startswith(_OF_THE_ENCODING)
        }
    )
    video.disposition = reader.video.disposition


def losses(form: str, reader: VideoReader) -> list[str]:
    """What the source has that no result gets, or none in the container ``form``, in words."""
    assert reader.layout is not None
    lost = [f"{_name(stream)} was left out" for stream in reader.left]
    if form == "gif":
        lost.append("gif knows few colours: pictures were reduced to 256 fixed ones")
    return [*lost, *(f"left out: {one}" for one in reader.layout.lost)]


def _forgotten(form: str, source: "Stream") -> tuple[str, ...]:
    """What such a container does not tell of the sound ``source``: it counts samples or packets, or
    has all streams begin at once."""
    if source.type != "audio":
        return ()
    codec = source.codec_context.name
    if form in SLOTTED and codec == "flac":  # its muxer fills pauses with empty packets
        return ()
    if form in ("mov", "mp4"):
        return (_PAUSES,) if codec.startswith("pcm_") else ()
    if form == "ismv":
        return (_BEGIN,)
    return (_BEGIN, _PAUSES) if form in SLOTTED or form == "mxf" else ()


def _longest(source: Any) -> float:
    """Seconds that a packet can sound: .mp4 and .mov have one last until the next, over pauses."""
    context = source.codec_context
    if source.type == "audio" and context.frame_size and context.sample_rate:
        return float(context.frame_size / context.sample_rate)
    return math.inf


def _takes(form: str, stream: "Stream", *, is_file: bool) -> bool:
    """Whether a file of that form, with nothing else in it, can begin with such a stream."""
    import av

    target = io.BytesIO() if is_file or form in OUT_OF_ORDER else _OneWay()
    try:
        with av.open(target, "w", format=form) as container:
            copy = _added(container, stream, is_file=is_file)
            if form in _NEED_LAYOUT and copy.type == "audio" and _lacks_layout(copy.codec_context):
                return False
            container.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True


class _OneWay(io.BytesIO):
    """Like a pipe."""

    def seekable(self) -> bool:
        return False


def _added(container: Any, stream: "Stream", *, is_file: bool) -> Any:
    """A stream like ``stream``. In a file, muxers come back to the header with what AAC's packets
    tell of themselves; elsewhere they are told before."""
    copy = container.add_stream_from_template(stream)
    if stream.type == "audio":
        _settle_layout(copy.codec_context)
    if not is_file and (config := _aac_config(stream)):
        copy.codec_context.extradata = config
    return copy


def _settle_layout(context: Any) -> None:
    """Have channels of which nothing is said, as PCM's in .avi, .mkv and .nut, belong where as many
    usually do."""
    if _lacks_layout(context):
        with contextlib.suppress(ValueError):  # nothing is usual for, say, nine
            context.layout = f"{context.layout.nb_channels}c"


def _lacks_layout(context: Any) -> bool:
    return bool(context.layout.name == f"{context.layout.nb_channels} channels")


def _aac_config(stream: Any) -> bytes | None:
    """AudioSpecificConfig of plain AAC that is described in each packet alone (ADTS), as in .ts;
    None for all else."""
    context = stream.codec_context
    if context is None or context.name != "aac" or context.extradata or context.profile != "LC":
        return None
    rate, layout = context.sample_rate, context.layout.name
    if rate not in _AAC_RATES or layout not in _AAC_LAYOUTS:
        return None
    low_complexity = 2
    bits = low_complexity << 11 | _AAC_RATES.index(rate) << 7
    return (bits | (_AAC_LAYOUTS.index(layout) + 1) << 3).to_bytes(2, "big")


def _lasting(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: text for key, text in tags.items() if key.lower() not in _OF_THE_SOURCE}


def _name(stream: "Stream") -> str:
    return f"{stream.type} stream {stream.index}"
