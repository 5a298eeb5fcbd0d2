"""Limits of time for what may take for ever: a compilation, a driver that does not answer."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

AGAIN = 5.0
"""Seconds until what went on after the limit is stopped once more."""


class _Over(BaseException):
    """No Exception: a compiler's ``except Exception`` would take it for its own, and go on."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in what takes longer.

    Python's own code alone can be stopped so (main thread, Unix): a call into a library that does
    not return needs a process that can be killed. Where nothing can be raised, as in a finaliser,
    it is tried again.
    """

    def stop(*_: object) -> None:
        raise _Over

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3), AGAIN)  # 0 would mean no limit
    try:
        yield
    except _Over:
        raise TimeoutError(f"stopped after {seconds:.3g} seconds") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
