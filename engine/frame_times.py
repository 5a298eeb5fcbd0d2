"""When the frames of a result are shown, where its container or codec cannot tell every time.

Most can, and times stay those of the source. Some count frames of one rate, some know none, and a
GIF's are hundredths of a second: there a frame goes to the nearest time that is free.
"""

from fractions import Fraction

from cyclegan.engine.encoding import Chosen
from cyclegan.engine.layout import Layout
from cyclegan.engine.muxers import SLOTTED, TIMELESS
from cyclegan.engine.ticks import nearest_tick
from cyclegan.errors import VideoError

_RATES_ALONE = ("mpeg1video", "mpeg2video")
"""Codecs whose frames come at one rate, of these."""
_RATES = tuple(
    Fraction(1000 * whole, divisor)
    for whole, divisor in (
        *((24, 1001), (24, 1000), (25, 1000), (30, 1001)),
        *((30, 1000), (50, 1000), (60, 1001), (60, 1000)),
    )
)
_EXTENDED = frozenset(
    rate * times / parts for rate in _RATES for times in range(1, 5) for parts in range(1, 33)
)
"""Rates of MPEG-2, which can state multiples of parts of the others."""
_COUNTED = TIMELESS | {"mpeg", "vob", "dvd", "vcd", "svcd", "mpeg1video", "mpeg2video"}
"""Containers whose players count frames, or do where no time is given, so that none can be left
out."""
_SAME = Fraction(1, 100)
"""Of a rate: what frames may come faster or slower where they are counted."""
_FINEST_MPEG4 = (1 << 16) - 1
"""Ticks of a second that MPEG-4 can count."""
_GIF_TICKS = 100
"""Of a second: no frame of a GIF is shorter."""


class FrameTimes:
    """The times of one result's frames, given one after the other."""

    def __init__(self, form: str, chosen: Chosen, layout: Layout) -> None:
        """``form`` is FFmpeg's name of the container, ``layout`` that of the source.

        Raises VideoError where frames would be counted at another rate than they come at.
        """
        self._form, self._encoder, self._layout = form, chosen.encoder, layout
        codec, base = chosen.canonical, layout.time_base
        too_fine = codec == "mpeg4" and max(base.numerator, base.denominator) > _FINEST_MPEG4
        self._has_slots = form in SLOTTED or codec in _RATES_ALONE or too_fine
        """Whether frames come at one rate, and are moved to its nearest time."""
        self._is_even = form in TIMELESS or self._has_slots
        """Whether every frame lasts as long as every other."""
        self.rate = _nearest(codec, layout.rate) if self._is_even else layout.rate
        """Frames per second."""
        if form in _COUNTED and abs(self.rate / layout.rate - 1) > _SAME:
            raise VideoError(
                f"{chosen.encoder} knows no {_said(layout.rate)}, and players of {form} files "
                "count frames; take another encoder, or an .mkv"
            )
        self.base = self._base()
        """The unit of the result's times, in seconds."""
        is_slower = codec in _RATES_ALONE and self.rate < layout.rate
        self._has_room = form in TIMELESS or (self._has_slots and not is_slower)
        """Whether there is a time for each frame, soon or late."""
        self._steps: set[int] = set()
        self._last_pts: int | None = None
        self._slot: int | None = None
        self._crowded = 0

    def _base(self) -> Fraction:
        if self._is_even:
            return 1 / self.rate
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
        nearest = nearest_tick(pts * self._layout.time_base / self.base)
        if self._form in TIMELESS:
            nearest = 0  # they are counted
        if self._slot is not None and nearest <= self._slot:
            if not self._has_room:
                self._crowded += 1
                return None
            nearest = self._slot + 1
        self._slot = nearest
        return nearest

    def go_on(self, last: int, left_out: int) -> None:
        """Frames are placed already, up to ``last``, in units of ``base``, or were left out."""
        self._slot, self._crowded = last, left_out

    def duration(self, stated: int) -> int:
        """Of a frame, in units of ``base``, that has ``stated`` in the source; 0: not known, or
        that of every other."""
        if self._is_even:
            return 0
        return nearest_tick(stated * self._layout.time_base / self.base)

    def notes(self) -> list[str]:
        """What of the source's times was lost, once all frames have been placed."""
        notes = []
        if self._crowded:
            gif = f"gif holds {_GIF_TICKS} frames/s at most"
            most = gif if self._form == "gif" else f"{self._encoder} holds {_said(self.rate)} here"
            notes.append(f"{most}: {self._crowded} frames were left out")
        given, rate = _said(self._layout.rate), _said(self.rate)
        vary = bool(self._steps) and max(self._steps) > 1.5 * min(self._steps)
        if vary and self._form in TIMELESS:
            notes.append(
                f"the times of the frames vary, and {self._form} has none: they were taken to come "
                f"at {rate}"
            )
        elif vary and self._has_slots:
            what = self._form if self._form in SLOTTED else self._encoder
            notes.append(
                f"the times of the frames vary, and {what} knows one rate: they were moved to the "
                f"nearest of {rate}"
            )
        elif given != rate and not self._crowded:
            notes.append(
                f"{self._encoder} knows no {given}: frames were moved to the nearest of {rate}"
            )
        return notes


def _said(rate: Fraction) -> str:
    return f"{float(rate):.3f} frames/s"


def _nearest(codec: str, rate: Fraction) -> Fraction:
    """The rate that ``codec`` can tell for frames of ``rate``.

    Of those that MPEG-1 knows, the one of whose frames every one, every second, ... comes nearest
    to ``rate``.
    """
    if codec == "mpeg4" and rate >= 1:
        return 1 / (1 / rate).limit_denominator(_FINEST_MPEG4)
    if codec == "mpeg4":
        return rate.limit_denominator(_FINEST_MPEG4)
    if codec not in _RATES_ALONE or (codec == "mpeg2video" and rate in _EXTENDED):
        return rate
    return min(_RATES, key=lambda known: abs(known / rate - max(1, round(known / rate))))
