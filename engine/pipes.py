"""What comes through a pipe, counted: where it ends within a picture, FFmpeg's demuxers do not say.

A pipe also ends when the program before it fails, and what it had written by then looks whole.
"""

from io import FileIO

from cyclegan.engine.endpoints import Input
from cyclegan.errors import VideoError, reason_of

AT_ONCE = 1 << 20
"""Bytes that FFmpeg asks for; a pipe gives what it has."""


class Pipe:
    """Standard input or a named pipe, as a file for PyAV. Has no way back, and says so."""

    def __init__(self, source: Input) -> None:
        """Waits for a program that writes into a named pipe. Raises VideoError."""
        own = source.url != "pipe:0"
        try:
            self._file = FileIO(source.url if own else 0, closefd=own)
        except OSError as error:
            raise VideoError(f"cannot read {source.name}: {reason_of(error)}") from error
        self.bytes = 0
        """That came."""
        self._ended_by: BaseException | None = None

    def read(self, size: int) -> bytes:
        """As many bytes as there are, ``size`` at most; none at the end, or once interrupted."""
        if self._ended_by is not None:
            return b""
        try:
            data = self._file.read(size)
        except (KeyboardInterrupt, SystemExit) as ending:  # which PyAV would print and forget
            self._ended_by, data = ending, b""
        self.bytes += len(data)
        return data

    def check(self) -> None:
        """Raises what interrupted reading."""
        if self._ended_by is not None:
            raise self._ended_by

    def close(self) -> None:
        """Let go of a named pipe; standard input stays open."""
        self._file.close()
