"""When the frames of a result are shown, where its container or codec cannot tell every time.

Most can, and times stay those of the source. Some count frames of one rate, some know none, and a
GIF's are hundredths of a second: there a frame goes to the nearest time that is free.
"""

from fractions import Fraction

from cyclegan.engine.encoding import Chosen
from cyclegan.engine.layout import Layout
from cyclegan.engine.muxers import SLOTTED, TIMELESS

_RATES_ALONE = ("mpeg1video", "mpeg2video")
"""Codecs whose frames come at one rate."""
_FINEST_MPEG4 = (1 << 16) - 1
"""Ticks of a second that MPEG-4 can count."""
_GIF_TICKS = 100
"""Of a second: no frame of a GIF is shorter."""


class FrameTimes:
    """The times of one result's frames, given one after the other."""

    def __init__(self, form: str, chosen: Chosen, layout: Layout) -> None:
        """``form`` is FFmpeg's name of the container, ``layout`` that of the source."""
        self._form, self._encoder, self._layout = form, chosen.encoder, layout
        codec, base = chosen.canonical, layout.time_base
        too_fine = codec == "mpeg4" and max(base.numerator, base.denominator) > _FINEST_MPEG4
        self._has_slots = form in SLOTTED or codec in _RATES_ALONE or too_fine
        """Whether frames come at one rate, and are moved to its nearest time."""
        self._is_even = form in TIMELESS or self._has_slots
        """Whether every frame lasts as long as every other."""
        self.base = self._base()
        """The unit of the result's times, in seconds."""
        self._steps: set[int] = set()
        self._last_pts: int | None = None
        self._slot: int | None = None
        self._crowded = 0

    def _base(self) -> Fraction:
        if self._is_even:
            return 1 / self._layout.rate
        return Fraction(1, _GIF_TICKS) if self._form == "gif" else self._layout.time_base

    def place(self, pts: int) -> int | None:
        """When the next frame is shown, in units of ``base``; ``pts`` is its time in the source.

        None where those before it have left no room for it.
        """
        if self._last_pts is not None:
            self._steps.add(pts - self._last_pts)
        self._last_pts = pts
        if self.base == self._layout.time_base and not self._is_even:
            return pts
        nearest = round(pts * self._layout.time_base / self.base)
        if self._form in TIMELESS:
            nearest = 0  # they are counted
        if self._slot is not None and nearest <= self._slot:
            if not self._is_even:
                self._crowded += 1
                return None
            nearest = self._slot + 1
        self._slot = nearest
        return nearest

    def go_on(self, last: int) -> None:
        """Frames are placed already, up to ``last``, in units of ``base``."""
        self._slot = last

    def duration(self, stated: int) -> int:
        """Of a frame, in units of ``base``, that has ``stated`` in the source; 0: not known, or
        that of every other."""
        if self._is_even:
            return 0
        return round(stated * self._layout.time_base / self.base)

    def notes(self) -> list[str]:
        """What of the source's times was lost, once all frames have been placed."""
        notes = []
        if self._crowded:
            notes.append(
                f"gif holds {_GIF_TICKS} frames/s at most: {self._crowded} frames were left out"
            )
        if not self._steps or max(self._steps) <= 1.5 * min(self._steps):
            return notes
        vary, rate = "the times of the frames vary", f"{float(self._layout.rate):.3f} frames/s"
        if self._form in TIMELESS:
            notes.append(f"{vary}, and {self._form} has none: they were taken to come at {rate}")
        elif self._has_slots:
            what = self._form if self._form in SLOTTED else self._encoder
            notes.append(
                f"{vary}, and {what} knows one rate: they were moved to the nearest of {rate}"
            )
        return notes
