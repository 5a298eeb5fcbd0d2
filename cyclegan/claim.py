"""A folder, while a process is at work there: that of a run, or of a translation's segments."""

import contextlib
import errno
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cyclegan.errors import OutputError, reason_of

if TYPE_CHECKING:
    from filelock import BaseFileLock

WAIT = 10.0
"""Seconds: those that read pictures for a process which was killed notice it after a few."""
NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS}
"""What file systems answer, some of clusters among them, that know none."""
log = logging.getLogger(__name__)


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep others out of ``folder``, which is made.

    Raises OutputError where another process is at work there, or nothing can be written. Where the
    file system knows no locks, it is said, and nothing is kept out.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock")
    try:
        _acquire(lock, folder)
    except Timeout as error:
        raise OutputError(
            f"another process is at work in {folder}; stop it first, or choose another output"
        ) from error
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in NO_LOCKS:
            raise OutputError(f"cannot write {folder}: {reason_of(error)}") from error
        log.warning("%s cannot be locked: see to it that one process alone works there", folder)
    try:
        yield
    finally:
        if lock.is_locked:
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()


def _acquire(lock: "BaseFileLock", folder: Path) -> None:
    """Make ``folder``, and take ``lock`` in it: anew where the process that had it removes both, as
    it does with segments that nobody needs any more."""
    end = time.monotonic() + WAIT
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=max(end - time.monotonic(), 0))
        except FileNotFoundError:
            if time.monotonic() > end:
                raise
        else:
            return
