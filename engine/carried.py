"""What a result takes over of its source beside the pictures: sound, subtitles, tags, chapters.

``container`` is PyAV's, opened for writing. What it cannot hold is left out, and said in ``notes``.
"""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cyclegan.engine.containers import VideoReader
from cyclegan.engine.muxers import holds

if TYPE_CHECKING:
    from av import Packet
    from av.stream import Stream

_ALPHA = "alpha_mode"
"""Tells that VP8 or VP9 has transparency, which lies beside its pictures."""
_OF_THE_SOURCE = (_ALPHA, "duration")
"""Tags that say of the source what need not hold for the result. Matroska writes its own length,
but into a pipe, where it would believe this one."""
_OF_THE_ENCODING = ("encoder", "bps", "number_of_frames", "number_of_bytes", "_statistics")
"""What such tags of a stream begin with that is encoded anew."""
_TRIED = ("mov", "mp4", "ipod", "matroska", "webm")
"""Containers that tell by their header alone which streams they hold."""
_HAVE_CHAPTERS = ("mov", "mp4", "matroska", "webm")


class Copy:
    """A copied stream. Muxers end in an error where times do not rise, as where recordings overlap
    that were joined: such packets are left out."""

    def __init__(self, container: Any, source: "Stream", stream: Any) -> None:
        """``stream`` is that of ``container`` for the packets of ``source``."""
        from av.format import Flags

        self._name, self._stream = _name(source), stream
        is_strict = not container.format.flags & Flags.ts_nonstrict.value
        self._step = int(is_strict and source.type != "subtitle")
        """By which times must rise at least."""
        self._last: int | None = None
        self._left_out = 0

    def take(self, packet: "Packet[Any]") -> bool:
        """Make ``packet`` one of this stream; False where it is to be left out."""
        packet.stream = self._stream
        if packet.dts is None:
            return True
        when = round(packet.dts * packet.time_base / self._stream.time_base)
        if self._last is not None and when < self._last + self._step:
            self._left_out += 1
            return False
        self._last = when
        return True

    def notes(self) -> list[str]:
        """What was left out, once all packets were given."""
        if not self._left_out:
            return []
        return [
            f"{self._name}: {self._left_out} packets were left out, whose times are no later than "
            "those before them"
        ]


def add_copy(container: Any, stream: "Stream", notes: list[str]) -> Copy | None:
    """A stream like ``stream`` for its packets, or None (and a note) if the container has none."""
    form = container.format.name
    name = stream.codec_context.name if stream.codec_context else "unknown"
    canonical = stream.codec_context.codec.canonical_name if stream.codec_context else name
    if form == "null":
        return None
    if form in _TRIED:
        held = _takes(form, stream)
    else:
        held = holds(form, container.supported_codecs, {name, canonical})
    if not held:
        elsewhere = "; .mkv can" if _takes("matroska", stream) else ""
        notes.append(
            f"{_name(stream)} ({name}) was left out: {form} files cannot hold it{elsewhere}"
        )
        return None
    copy = container.add_stream_from_template(stream)
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
    if _has_alpha(reader):
        lost.append("the transparency of the source was left out")
    if form == "gif":
        lost.append("gif knows few colours: pictures were reduced to 256 fixed ones")
    return [*lost, *(f"left out: {one}" for one in reader.layout.lost)]


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


def _lasting(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: text for key, text in tags.items() if key.lower() not in _OF_THE_SOURCE}


def _has_alpha(reader: VideoReader) -> bool:
    assert reader.layout is not None
    told = {key.lower(): text for key, text in reader.video.metadata.items()}
    return told.get(_ALPHA) == "1" or any(p.is_alpha for p in reader.layout.format.components)


def _name(stream: "Stream") -> str:
    return f"{stream.type} stream {stream.index}"
