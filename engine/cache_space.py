"""Keeping the cache within its limit: the entries that were used least recently go.

Only what the cache wrote goes: a folder named after a key's SHA-256 whose files have their notes.
An entry whose lock is held is left alone, as is one that was used within the last minutes, which a
process may still read, and anything that someone else put there.
"""

import contextlib
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

from cyclegan.errors import ConfigError

LIMIT_VARIABLE = "CYCLEGAN_CACHE_GB"
DEFAULT_GB = 20.0
IN_USE_SECONDS = 600.0
"""For which a process may read an entry after it has asked for it."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One entry of the cache."""

    folder: Path
    files: tuple[Path, ...]
    """The entry's files and their notes, notes last."""
    size: int
    """Bytes."""
    used: float
    """When it was built or last used, in seconds since the epoch; 0 where that is in the future."""


def limit_bytes() -> int:
    """How large the cache may grow: ``$CYCLEGAN_CACHE_GB``, else 20 GB. Raises ConfigError."""
    text = os.environ.get(LIMIT_VARIABLE, str(DEFAULT_GB))
    try:
        if (limit := float(text)) > 0:
            return int(limit * 1e9)
    except (ValueError, OverflowError):
        pass
    raise ConfigError(f"{LIMIT_VARIABLE}={text!r}; expected the cache's limit in GB, such as 20")


def entries(cache: Path) -> list[Entry]:
    """All entries, the least recently used first."""
    found = []
    for folder in cache.glob("[0-9a-f][0-9a-f]/*"):
        if len(folder.name) == 64 and folder.name.startswith(folder.parent.name):
            with contextlib.suppress(OSError):  # another process may be removing it
                found.append(_entry(folder))
    return sorted((entry for entry in found if entry.files), key=lambda entry: entry.used)


def make_room(cache: Path) -> None:
    """Remove the least recently used entries until the cache is within its limit.

    Those of the last ten minutes stay even then: others may be reading them. The caller holds the
    lock of the entry that it built, which so stays, whatever its size. Raises ConfigError.
    """
    from filelock import FileLock, Timeout

    limit, known = limit_bytes(), entries(cache)
    total = sum(entry.size for entry in known)
    spared = time.time() - IN_USE_SECONDS
    for entry in known:
        if total <= limit or entry.used > spared:
            return
        with contextlib.suppress(Timeout, OSError):
            with FileLock(entry.folder / "lock", timeout=0):
                for file in reversed(entry.files):  # the note first: half an entry is never used
                    file.unlink(missing_ok=True)
            total -= entry.size
            _log.info("removed %s from the cache, to stay below %d bytes", entry.folder, limit)


def _entry(folder: Path) -> Entry:
    notes = [note for note in sorted(folder.glob("*.json")) if note.with_suffix("").exists()]
    both = (*(note.with_suffix("") for note in notes), *notes)
    sizes = [file.stat() for file in both]
    used = max((status.st_mtime for status in sizes), default=0.0)
    return Entry(
        folder=folder,
        files=both,
        size=sum(status.st_size for status in sizes),
        # Of a clock that was wrong: it would never become the oldest, and all others would.
        used=0.0 if used > time.time() + IN_USE_SECONDS else used,
    )
