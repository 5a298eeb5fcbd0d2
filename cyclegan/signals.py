"""The signals that end a process, as exceptions, so that what was begun is cleaned up."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import NoReturn


def ending_signals() -> list[int]:
    """SIGTERM, and SIGHUP where there is one, unless we were started to ignore it, as by nohup."""
    numbers = (getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP"))
    return [n for n in numbers if n is not None and signal.getsignal(n) != signal.SIG_IGN]


def is_urgent(number: int) -> bool:
    """Whether a second signal of this number means that the end must not wait.

    Of a terminal that is closed both the system and the shell tell: nobody asks twice by SIGHUP.
    """
    return number != getattr(signal, "SIGHUP", None)


@contextlib.contextmanager
def handling(
    numbers: Iterable[int], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    """``handler`` for the signals ``numbers`` in this block, where this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def leave(number: int, frame: FrameType | None = None) -> NoReturn:
    """End as a signal asks: KeyboardInterrupt, or SystemExit with status 128 + number."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
