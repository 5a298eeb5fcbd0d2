"""What is found while a video is read: damage, what it lacks, what was unusual; in words."""

import errno
from typing import TYPE_CHECKING, Any

from cyclegan.colour import bits_of, format_of
from cyclegan.engine.cutting import Part
from cyclegan.engine.endings import Ending
from cyclegan.engine.endpoints import Input
from cyclegan.engine.joined_times import JoinedTimes
from cyclegan.engine.layout import has_alpha
from cyclegan.engine.opening import why

if TYPE_CHECKING:
    from av import Packet, VideoFrame

ALPHA = "alpha_mode"
"""The tag that tells that VP8 or VP9 has transparency, which lies beside its pictures."""


class Findings:
    """Of one video: counts that its reader keeps, and what they amount to."""

    def __init__(self, source: Input, part: Part, container: Any, video: Any) -> None:
        """``part`` of ``source`` is read; PyAV's ``container``, and its stream of the pictures."""
        self._source, self._part = source, part
        self._container, self._video = container, video
        self.problems: list[str] = []
        """What was damaged or missing."""
        self.frames = 0
        """Pictures of the part."""
        self.bits = 0
        """Of a channel, in the deepest of them."""
        told = {key.lower(): text for key, text in video.metadata.items()}
        self._has_alpha = told.get(ALPHA) == "1"
        self._packets = 0
        """Of the pictures."""
        self._damaged = 0
        """Packets that say so, or do not decode."""
        self._concealed = 0
        """Pictures whose decoder says that it filled what is missing."""
        self.done = False
        """A picture behind the part has come: what else is read is copied."""
        self.changed = False
        """A picture of another size, or turned another way, has come, which ends the reading."""
        self._is_early = False
        """A picture before the part has come."""
        self._first_seconds: float | None = None
        """When the first picture comes, where the part ends before it."""
        self._stopped_by: str | None = None
        """The error that ended reading."""
        self._is_open_ended = False
        """The end of a download was what its server made one."""

    def count(self, packet: "Packet[Any]") -> None:
        """Take one more packet of the pictures into account."""
        self._packets += packet.size > 0
        self._damaged += bool(packet.is_corrupt)

    def undecodable(self, packet: "Packet[Any]") -> None:
        """``packet``, which was counted, does not decode."""
        self._damaged += not packet.is_corrupt  # else it is among them

    def see(self, picture: "VideoFrame") -> None:
        """Take one more picture of the part into account: those of a series may differ."""
        self.frames += 1
        self.bits = max(self.bits, bits_of(format_of(picture)))
        self._has_alpha = self._has_alpha or has_alpha(picture)
        self._concealed += bool(picture.is_corrupt)

    def early(self) -> None:
        """A picture lies before the part."""
        self._is_early = True

    def late(self, seconds: float) -> None:
        """A picture at ``seconds`` lies behind the part."""
        self.done = True
        if not self.frames:
            self._first_seconds = seconds

    def differs(self, problem: str) -> None:
        """A picture is not like those before, as ``problem`` says."""
        self.problems.append(problem)
        self.changed = True

    def stopped(self, error: Exception) -> None:
        """``error`` ended reading."""
        self._stopped_by = why(error, self._source)

    def ended_by(self, error: Exception) -> None:
        """No packet follows ``error``, which may be how FFmpeg ends a download whose server did not
        say how long it is, and closed the connection."""
        unknown = (self._container.size or 0) <= 0  # PyAV before 19: the number of an error
        is_eio = getattr(error, "errno", 0) == errno.EIO
        self._is_open_ended = self._source.is_download and unknown and is_eio
        if not self._is_open_ended:
            self.stopped(error)

    def conclude(self, ending: Ending, *, excused: int) -> None:
        """Nothing more comes: add what was damaged or missing to the problems.

        ``excused``: packets that say that they are damaged, and are not.
        """
        if self._stopped_by and not self.done:
            self.problems.append(f"reading stopped: {self._stopped_by}")
        if damaged := self._damaged - excused:
            most = self._source.most_pixels
            unless = "" if self.frames else f", or their frames have over {most:,} pixels"
            self.problems.append(f"{damaged} packets are damaged{unless}")
        if self._concealed:
            # Decoders fill what they cannot decode from the pictures around.
            self.problems.append(f"{self._concealed} pictures are damaged")
        if self.done:
            return
        if self._source.gap:
            self.problems.append(self._source.gap)
        if problem := ending.problem(None if self._part.start else self._packets):
            self.problems.append(problem)

    def notes(self, times: JoinedTimes) -> list[str]:
        """What was left out or unusual, and is no damage."""
        strays, name = times.strays.count, self._source.name
        put_back = f"the times of {strays} packets lay far ahead of those around, and were put back"
        open_ended = (
            f"{name} was taken to be whole where its server hung up: how long it is was not said"
        )
        alpha = "the transparency of the source was left out"
        found = [alpha] * self._has_alpha
        found += [put_back] * bool(strays) + [open_ended] * self._is_open_ended
        return found + [
            f"times begin anew after {second:.2f} s, as where recordings were joined: what follows "
            "was moved behind it"
            for second in times.joints
        ]

    def why_empty(self, ends_after: float) -> str:
        """What to say where reading gave no frame of a video that ends after so many seconds."""
        import av

        name = self._source.name
        if self._is_early:
            return (
                f"{name} has no frames from {self._part.start:g} s on: it ends after "
                f"{ends_after:.2f} s; give an earlier start"
            )
        if self._first_seconds is not None:
            return (
                f"{name} has no frames before {self._part.end:g} s: the first comes at "
                f"{self._first_seconds:.2f} s; give a later end"
            )
        problems = "".join(f"; {problem}" for problem in self.problems)
        codecs = av.codec.codecs_available
        if self._video.codec_context.name == "webp" and "webp_anim" not in codecs:
            problems += (
                "; FFmpeg decodes animated WebP from 9.0 on, and this is an older one: where it is "
                "one, make a .gif or a video of it"
            )
        is_mov = self._container.format.name.startswith("mov,mp4")
        if self._stopped_by and not self._source.path and is_mov:
            problems += (
                "; an .mp4 or .mov whose index comes last cannot be read as it arrives: save it as "
                "a file first, or write it with FFmpeg's -movflags +faststart"
            )
        return f"{name} has no frames that can be decoded{problems}"
