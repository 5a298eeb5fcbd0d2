"""A run's folder, while a process trains there."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from cyclegan.errors import OutputError, reason_of

WAIT = 10.0
"""Seconds: those that read pictures for a process which was killed notice it after a few."""


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep other runs out of ``folder``, which is made.

    Raises OutputError where another process trains there, or nothing can be written.
    """
    path = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=WAIT)
        lock.acquire()
    except Timeout as error:
        raise OutputError(
            f"another process trains in {folder}; stop it first, or choose another output"
        ) from error
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {reason_of(error)}") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()
