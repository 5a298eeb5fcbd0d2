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

    def read(self, size: int) -> bytes:
        """As many bytes as there are, ``size`` at most; none at the end."""
        data = self._file.read(size)
        self.bytes += len(data)
        return data

    def close(self) -> None:
        """Let go of a named pipe; standard input stays open."""
        self._file.close()
