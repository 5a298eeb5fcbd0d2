"""The signals that end a process, as exceptions, so that what was begun is cleaned up."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any, NoReturn


def ending_signals() -> list[int]:
    """SIGINT, SIGTERM, and SIGHUP where there is one, but for those that we were started to ignore,
    as by nohup, or by a shell that runs us in the background."""
    numbers = (getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP"))
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


def leave(number: int) -> NoReturn:
    """End as a signal asks: KeyboardInterrupt, or SystemExit with status 128 + number."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


AGAIN_SECONDS = 0.1
"""Between two looks at whether the end would be swallowed still."""


@contextlib.contextmanager
def leaving() -> Iterator[None]:
    """End as Ctrl-C, SIGTERM and SIGHUP ask in this block, where this is the main thread.

    In the middle of an import the end waits for it: extension modules swallow an exception that
    comes while they are loaded, and go on with half of NumPy. Those of Cython, such as PyAV's, also
    do while they make an error, and Python itself in the end of an object. One that a library makes
    of the end is the end too.
    """
    asked = Asked()
    with handling(ending_signals(), asked.leave):
        try:
            yield
        except Exception:
            if asked.by is not None:
                leave(asked.by)
            raise
        else:
            if asked.by is not None:  # the block was over before it was asked for again
                leave(asked.by)
        finally:
            asked.forget()


class Asked:
    """An end that has been asked for, and how much of what would swallow it is outside of it."""

    def __init__(self) -> None:
        self.by: int | None = None
        self._outside = _swallowing_in(sys._getframe())
        self._before: Any = None

    def leave(self, number: int, frame: FrameType | None) -> None:
        """A signal handler: end as the signal asks, or send it again where the end would be lost.

        Raises KeyboardInterrupt, or SystemExit with status 128 + number.
        """
        self.by = number
        lost = _swallowing_in(frame) > self._outside or _is_lost_in(frame)
        if not lost or not hasattr(signal, "setitimer"):
            leave(number)
        before = signal.signal(signal.SIGALRM, self._again)
        if self._before is None:  # SIG_DFL is false
            self._before = before
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)

    def _again(self, number: int, frame: FrameType | None) -> None:
        assert self.by is not None
        if _is_lost_in(frame):
            signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
        else:
            number, self.by = self.by, None  # another handler may be in force by now, and see to it
            signal.raise_signal(number)

    def forget(self) -> None:
        """Ask no more."""
        if self._before is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._before)


def _is_lost_in(frame: FrameType | None) -> bool:
    """Whether ``frame`` runs while Cython makes an error, which hides what is raised there.

    It is one that Cython has made to tell of the error, which names the whole path to a function,
    where Python's code has the function's name alone. Or it is what filelock, from Python 3.12 on,
    has Python call wherever code is made, and so before there is Cython's own.
    """
    name = "" if frame is None else frame.f_code.co_name
    return "." in name or name == "_audit_fork_safety"


def _swallowing_in(frame: FrameType | None) -> int:
    """How many imports, and ends of objects, are under way in what ``frame`` was called by."""
    count = 0
    while frame is not None:
        count += frame.f_code.co_filename == "<frozen importlib._bootstrap>" or _ends_object(frame)
        frame = frame.f_back
    return count


def _ends_object(frame: FrameType) -> bool:
    """Whether Python calls ``frame`` where an object goes, or a finalizer of one is called."""
    name, module = frame.f_code.co_name, frame.f_globals.get("__name__")
    called = name == "__call__" and module in ("multiprocessing.util", "weakref")
    return called or name == "__del__"
