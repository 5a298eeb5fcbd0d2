"""Limits of time for what may take for ever: a compilation, a driver that does not answer."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in what takes longer.

    Python's own code alone can be stopped so (main thread, Unix): a call into a library that does
    not return needs a process that can be killed.
    """

    def stop(*_: object) -> None:
        raise TimeoutError(f"stopped after {seconds:.3g} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))  # 0 would mean no limit
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
