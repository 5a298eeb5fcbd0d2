"""Where bars and progress lines are shown."""

from rich.console import Console


class LossyConsole(Console):
    """One whose text may get lost: no reader that leaves and no full disk ends the work."""

    def _write_buffer(self) -> None:
        try:
            super()._write_buffer()
        except OSError:  # rich would end the process where a pipe is broken
            del self._buffer[:]
