"""Standard streams that take no more text: their reader has left, or the disk is full."""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def text_may_be_lost() -> Iterator[None]:
    """For what is printed once the work is done, which it must not fail."""
    with contextlib.suppress(OSError):
        yield
    give_up_unwritten()


def give_up_unwritten() -> None:
    """Send text that cannot be written nowhere: at exit Python would fail to write it again."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
