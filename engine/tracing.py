"""Who may trace with PyTorch: its exporter changes modules, warnings and loggers of the process.

While it works, a compiled module that another thread calls fails, and so does a second export.
Compiled modules may be called, and compile, side by side.
"""

import contextlib
import threading
from collections.abc import Iterator


class _Tracing:
    def __init__(self) -> None:
        self._turn = threading.Lock()
        """Of whoever exports or begins a call: an export that waits lets no more calls in."""
        self._ended = threading.Condition()
        self._calls = 0

    @contextlib.contextmanager
    def exporting(self) -> Iterator[None]:
        """Waits for calls and other exports to end; there are none while a thread is inside."""
        with self._turn:
            with self._ended:
                self._ended.wait_for(lambda: not self._calls)
            yield

    @contextlib.contextmanager
    def calling(self) -> Iterator[None]:
        """Waits for exports to end; there is none while a thread is inside."""
        with self._turn, self._ended:
            self._calls += 1
        try:
            yield
        finally:
            with self._ended:
                self._calls -= 1
                self._ended.notify_all()


tracing = _Tracing()
"""The one of this process."""
