"""Temporary files that killed processes have left, known by their names and their age."""

import contextlib
import functools
import logging
import os
import re
import stat
import time
from pathlib import Path

MARK = "cyclegan"
"""In the names of temporary files: ``.stem.cyclegan-12-34.suffix``, by process and thread."""
DAY = 24 * 3600.0
"""Seconds without a change, after which a file whose process is not seen here has none elsewhere:
containers and machines that share a folder do not see each other's, nor, on all file systems,
locks that others may hold."""
_NAME = re.compile(rf"\..*\.{MARK}-(\d+)-\d+(\.[^.]*)?", re.DOTALL)
_log = logging.getLogger(__name__)


@functools.cache  # once a process: a folder may have many thousands of pictures
def remove_left_over(folder: Path) -> None:
    """Remove the temporary files in ``folder`` of processes that are gone, a day after they wrote.

    What cannot be removed stays.
    """
    with contextlib.suppress(OSError):
        for file in folder.iterdir():
            if matched := _NAME.fullmatch(file.name):
                _remove(file, int(matched[1]))


def _remove(file: Path, process: int) -> None:
    with contextlib.suppress(OSError):  # somebody else's, or gone; in Windows, open
        state = file.lstat()
        old = time.time() - state.st_mtime > DAY
        if stat.S_ISREG(state.st_mode) and old and not _runs(process):
            file.unlink()
            _log.info("removed %s, which a process that was killed had left", file)


def _runs(process: int) -> bool:
    """Whether this machine has such a process; in Windows, which refuses to remove, unknown."""
    if os.name != "posix":
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        pass
    return True
