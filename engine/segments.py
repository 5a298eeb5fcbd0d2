"""A translation in segments: what an interrupted run has finished, the next one need not do again.

Beside the target, in the folder ``.NAME.segments``, lie the packets of every ``LENGTH`` frames,
each file whole or not there, encoded by themselves. When all are there, they are joined under the
target's name and the folder goes. Segments do not depend on where a run began, so the result is
that of a run without interruption: the same frames given to the same encoders at the same times.

A later run uses them if source, settings, the encoder that these lead to and versions are the same
and the translator still makes the same pixels of the first frame, and of noise, since films begin
black, and instance norm leaves the same of that by most generators. Frames that are done are
decoded again, but nothing else.
"""

import hashlib
import heapq
import json
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import cyclegan
from cyclegan.claim import claimed
from cyclegan.colour import rgb_from_picture
from cyclegan.engine.containers import VideoReader
from cyclegan.engine.encoding import Chosen
from cyclegan.engine.layout import TimedFrame
from cyclegan.engine.options import VideoOptions
from cyclegan.engine.translator import Translator
from cyclegan.engine.writer import VideoWriter
from cyclegan.errors import ConfigError, OutputError, VideoError, reason_of
from cyclegan.files import fitting, replacing, write_whole

if TYPE_CHECKING:
    from av import Packet
    from numpy.typing import NDArray

LENGTH = 250
"""Frames of a segment."""

_ARRAYS = ("pts", "dts", "duration", "key", "size", "data", "frames")
"""Of a segment: one number a packet, but for all their bytes in a row, and how many frames they are
of, some of which may have been left out."""
_NOT_JOINED = {"gif": "gif", "apng": "apng", "webp": "webp", "wrapped_avframe": "y4m"}
"""Codecs whose first packet begins a file, or whose packets lead to memory; how users call them."""


def fingerprint(
    reader: VideoReader, translator: Translator, options: VideoOptions, chosen: Chosen
) -> str:
    """What must be the same for segments of an earlier run to be used; reads one frame.

    ``chosen`` is in it since the same options may lead to another encoder tomorrow, where NVENC has
    no session left, and one file cannot hold what both make. Raises VideoError if there is no
    frame.
    """
    path = reader.source.path
    assert path is not None
    reader.convert = partial(rgb_from_picture, depth=translator.depths[0])
    frame = next((item.frame for item in reader.items() if isinstance(item, TimedFrame)), None)
    if not isinstance(frame, np.ndarray):
        raise VideoError(reader.why_empty())
    state = path.stat()
    facts = {
        "source": [str(path.resolve()), state.st_size, state.st_mtime_ns],
        "options": repr(options),
        "encoding": repr(chosen),
        "depths": list(translator.depths),
        "planes": None if options.convert == "cpu" else translator.planes_on,
        "translations": [_translated(translator, picture) for picture in (frame, _noise(frame))],
        "length": LENGTH,
        "arrays": _ARRAYS,
        "version": cyclegan.__version__,
        "ffmpeg": repr(_ffmpeg()),
    }
    return json.dumps(facts, indent=1)


def _noise(frame: "NDArray[Any]") -> "NDArray[Any]":
    """Pixels at random, the same for all frames of a size."""
    most = np.iinfo(frame.dtype).max
    return np.random.default_rng(0).integers(0, most, frame.shape, frame.dtype, endpoint=True)


def _translated(translator: Translator, picture: "NDArray[Any]") -> str:
    return hashlib.sha256(translator(picture).tobytes()).hexdigest()


@contextmanager
def segments_folder(target: Path) -> Iterator[Path]:
    """Where the segments of ``target`` lie; no other process works there meanwhile, which would
    take away what is done here, or join what it did. Goes once it holds none. Raises OutputError.
    """
    folder = target.with_name(fitting(f".{target.name}", ".segments"))
    try:
        with claimed(folder):
            try:
                yield folder
            finally:
                if not any(folder.glob("*.npz")):  # of what use would their facts be
                    remove_segments(folder)
    finally:
        with suppress(OSError):  # it holds segments, or is of another process
            folder.rmdir()


def remove_segments(folder: Path) -> None:
    """Nothing in ``folder`` is needed any more."""
    with suppress(OutputError):
        _clear(folder)


def _clear(folder: Path) -> None:
    """File by file, since ``folder`` may be a link to where there is room. Raises OutputError:
    segments must not stay beside the facts of others.
    """
    try:
        for path in (*folder.glob("*facts*.json"), *folder.glob("*.npz")):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot remove {path}, of an earlier translation: {reason_of(error)}"
        ) from error


class Segments:
    """The finished segments beside a target."""

    def __init__(self, folder: Path, facts: str) -> None:
        """Segments of other ``facts`` are removed, and what follows a damaged one is not used.

        Raises OutputError.
        """
        self.folder = folder
        noted = folder / "facts.json"
        if not (noted.is_file() and noted.read_bytes() == facts.encode()):
            _clear(folder)
            write_whole(noted, facts)
        done: list[dict[str, Any]] = []
        self.damaged: str | None = None
        """Why the segments end where they do, if the next is there."""
        while self._path(len(done)).exists():
            try:
                segment = self._load(len(done))
            except VideoError as error:
                self.damaged = str(error)
                break
            done.append({name: segment[name] for name in ("pts", "frames")})
        self.count = len(done)
        self.frames = sum(int(segment["frames"]) for segment in done)
        """Frames in them, with those that were left out."""
        times = [segment["pts"] for segment in done]
        self.left_out = max(self.frames - sum(map(len, times)), 0)
        """Frames for which the encoder's rate had no room; VP8 has packets that show none."""
        self.last_pts = max((int(shown.max()) for shown in times if len(shown)), default=None)
        """When the last of these is shown, in units of the encoder's; None where there are none."""

    def add(self, packets: "list[Packet[Any]]", frames: int) -> None:
        """Keep the packets of the next segment, of so many frames. Raises OutputError."""
        with replacing(self._path(self.count)) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                pts=np.array([packet.pts for packet in packets], np.int64),
                dts=np.array([packet.dts for packet in packets], np.int64),
                duration=np.array([packet.duration or 0 for packet in packets], np.int64),
                key=np.array([packet.is_keyframe for packet in packets]),
                size=np.array([packet.size for packet in packets]),
                data=np.frombuffer(b"".join(map(bytes, packets)), np.uint8),
                frames=np.array(frames),
            )
        self.count += 1

    def packets(self, base: Any) -> "Iterator[Packet[Any]]":
        """All packets in the order of decoding, with times in units of ``base``.

        Raises VideoError where a segment cannot be read any more.
        """
        import av

        shown: deque[int] = deque()
        delay: int | None = None
        for number in range(self.count):
            segment = self._load(number)
            if delay is None:
                # How many packets an encoder sends ahead of the first one's time.
                delay = int((segment["dts"] < segment["pts"].min()).sum())
            shown.extend(sorted(segment["pts"].tolist()))
            ends = segment["size"].cumsum()
            for at, end in enumerate(ends):
                packet = av.Packet(segment["data"][end - segment["size"][at] : end].tobytes())
                packet.time_base = base
                packet.pts = int(segment["pts"][at])
                packet.duration = int(segment["duration"][at])
                packet.is_keyframe = bool(segment["key"][at])
                # Each encoder began anew; in one file the times of decoding must rise throughout.
                early = number == 0 and at < delay
                packet.dts = int(segment["dts"][at]) if early else shown.popleft()
                yield packet

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06}.npz"

    def _load(self, number: int) -> dict[str, Any]:
        """Raises VideoError."""
        path = self._path(number)
        try:
            with path.open("rb") as opened, np.load(opened) as file:
                return {name: file[name] for name in _ARRAYS}
        except Exception as error:  # of zip, of NumPy or of the system, by where the damage is
            raise VideoError(f"{path} is damaged: {reason_of(error)}") from error


class SegmentWriter:
    """Takes frames into segments, and joins them at the end with the packets that are copied."""

    def __init__(self, final: VideoWriter, segments: Segments, sound: VideoReader) -> None:
        """``final`` was opened for ``sound``, a reader of the same source of its own.

        Raises ConfigError where what is encoded apart cannot be joined.
        """
        if kind := _NOT_JOINED.get(final.chosen.canonical):
            raise ConfigError(
                f"{kind} pictures cannot be joined from segments, as a resumed run does: give it "
                "without resume, or another target, such as .mp4"
            )
        self._final, self._segments, self._sound = final, segments, sound
        self.notes, self.bits, self.chosen = final.notes, final.bits, final.chosen
        if segments.damaged is not None:
            self.notes.append(f"{segments.damaged}; from there on, all is translated again")
        if segments.last_pts is not None:
            self.notes.append(f"{segments.frames} frames are from an earlier run")
            final.go_on(segments.last_pts, segments.left_out)
        self._begin()

    def write(self, item: "TimedFrame | Packet[Any]") -> None:
        """Take a frame; packets come from ``sound`` at the end."""
        if not isinstance(item, TimedFrame):
            return
        self._packets += self._final.encode(item, self._encoder)
        self._frames += 1
        if self._frames == LENGTH:
            self._end()
            self._begin()

    def close(self) -> None:
        """Finish the last segment and write the file."""
        if self._frames:
            self._end()
        base = self._encoder.time_base
        streams = (self._segments.packets(base), self._sound.copies())
        for packet in heapq.merge(*streams, key=_seconds):
            if packet.stream is None:
                self._final.mux(packet)
            else:
                self._final.write(packet)
        self._final.finish()

    def abandon(self) -> None:
        """Nobody has to be waited for: it is a file."""

    def discard(self) -> None:
        """Let go of the file; finished segments stay."""
        self._final.discard()

    def _begin(self) -> None:
        self._encoder = self._final.fresh_encoder()
        self._packets: list[Packet[Any]] = []
        self._frames = 0

    def _end(self) -> None:
        self._packets += self._final.held_back(self._encoder)
        self._segments.add(self._packets, self._frames)


def _seconds(packet: "Packet[Any]") -> float:
    when = packet.pts if packet.dts is None else packet.dts
    return float((when or 0) * packet.time_base)


def _ffmpeg() -> dict[str, Any]:
    import av

    return dict(av.library_versions)
