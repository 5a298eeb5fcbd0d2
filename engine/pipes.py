"""What comes through a pipe, counted: where it ends within a picture, FFmpeg's demuxers do not say.

A pipe also ends when the program before it fails, and what it had written by then looks whole. And
it may say nothing for ever: FFmpeg would wait for it, whoever wants to stop.
"""

import os
import select
import sys
from collections.abc import Callable
from io import FileIO

from cyclegan.engine.endpoints import Input
from cyclegan.errors import VideoError, reason_of

AT_ONCE = 1 << 20
"""Bytes that FFmpeg asks for; a pipe gives what it has."""
LOOK_SECONDS = 0.1
"""Between two looks, in a silence, at whether anybody still wants to read."""


def is_for_us(source: Input) -> bool:
    """Whether we read ``source`` and hand it to FFmpeg: a pipe, but not what a demuxer of its own
    opens by name, as that of a screen (/dev/fb0) does."""
    import av

    if not source.is_pipe:
        return False
    try:
        return source.format is None or not av.ContainerFormat(source.format, "r").no_file
    except ValueError:  # no demuxer, which opening it tells
        return False


def _at_once(name: str, flags: int) -> int:
    """Opens a named pipe before a program writes into it, for which :meth:`Pipe.read` waits; other
    systems may take it for one that has ended.
    """
    return os.open(name, flags | (os.O_NONBLOCK if sys.platform == "linux" else 0))


class Pipe:
    """Standard input or a named pipe, as a file for PyAV. Has no way back, and says so."""

    def __init__(self, source: Input, is_over: Callable[[], bool]) -> None:
        """``is_over``: nothing more is to be read, whatever comes. Raises VideoError."""
        own = source.url != "pipe:0"
        try:
            self._file = FileIO(source.url, opener=_at_once) if own else FileIO(0, closefd=False)
        except OSError as error:
            raise VideoError(f"cannot read {source.name}: {reason_of(error)}") from error
        self.bytes = 0
        """That came."""
        self.ended = False
        """Its end was met, not that of our patience."""
        self._is_over = is_over
        self._ended_by: BaseException | None = None

    def read(self, size: int) -> bytes:
        """As many bytes as there are, ``size`` at most; none at the end, once interrupted or over.

        In a silence it waits, also for a program that opens the pipe, but not longer than that.
        """
        if self._ended_by is not None:
            return b""
        try:
            data = b""
            while not data and not self.ended and self._wait():
                got = self._file.read(size)  # None: another program was faster
                data, self.ended = got or b"", got == b""
        except (KeyboardInterrupt, SystemExit) as ending:  # which PyAV would print and forget
            self._ended_by, data = ending, b""
        self.bytes += len(data)
        return data

    def _wait(self) -> bool:
        """Return when there is something to read, or the end; False when it is over before."""
        if not hasattr(select, "poll"):  # Windows, where pipes cannot be asked
            return not self._is_over()
        # What blocks in the system is not interrupted where it blocks another thread than the main.
        poll = select.poll()
        poll.register(self._file, select.POLLIN)
        while not self._is_over():
            if poll.poll(1000 * LOOK_SECONDS):
                return True
        return False

    def check(self) -> None:
        """Raises what interrupted reading."""
        if self._ended_by is not None:
            raise self._ended_by

    def close(self) -> None:
        """Let go of a named pipe; standard input stays open."""
        self._file.close()
